"""What the presets of published experiments cost on one GPU, computed, not measured.

    python -m benchmarks.protocol_cost [NAME ...]

Counts the floating-point operations of one step with one image of each set, as if the teacher's embeddings and the
tokenizer's codes were kept from no step to the next, on models of the published sizes with random weights; minutes on a
CPU. Seconds follow from the steps and the batch of the preset, the published peak of a GPU and an assumed share.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_cases import MAE, PALETTE, Case, Unlearning
from i2i_unlearn.config.presets import Preset, find_preset

PEAK_FLOPS = 989e12
"""NVIDIA's figure for bf16 on an H100 SXM, without sparsity."""
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
_MAGE: Mapping[str, Any] = {
    **{"num_codes": 1024, "code_size": 256, "tokenizer_width": 128, "tokenizer_multipliers": [1, 1, 2, 2, 4]},
    **{"tokenizer_num_blocks": 2, "tokenizer_norm_groups": 32, "hidden_tokens": "mask"},
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"decoder_hidden_size": 768, "decoder_num_hidden_layers": 8, "decoder_num_attention_heads": 16},
}
MAGE = Case("MAGE ViT-B", "vqgan", _MAGE, image_size=256, num_channels=3, batch_size=1)


@dataclass(frozen=True)
class Experiment:
    """A preset with a model that it is for."""

    preset: str
    case: Case
    share: float
    """Assumed, of the peak: less for convolutions, whose maps are large and channels few."""


EXPERIMENTS = {
    "mae-b": Experiment("imagenet1k-mae", MAE, 0.3),
    "mae-l": Experiment("imagenet1k-mae", replace(MAE, architecture={**LARGE, "intermediate_size": 4096}), 0.3),
    "mage-b": Experiment("imagenet1k-mage", MAGE, 0.3),
    "mage-l": Experiment(
        "imagenet1k-mage", replace(MAGE, architecture={**_MAGE, **LARGE, "decoder_hidden_size": 1024}), 0.3
    ),
    "palette": Experiment("places365-palette", PALETTE, 0.1),
}


def flops_of_pair(case: Case, preset: Preset) -> int:
    """Operations of a step with one image of each set: student forward and backward, teacher twice."""
    cpu = torch.device("cpu")
    fraction = preset.settings["keep_fraction"]
    loop = Unlearning(
        replace(case, batch_size=1), case.images(2, cpu), cache_bytes=0, num_noise_draws=0, keep_fraction=fraction
    )
    with FlopCounterMode(display=False) as counter:
        loop.run(1, "fp32")
    return int(counter.get_total_flops())


def seconds_of(flops: float, preset: Preset, share: float) -> float:
    """Seconds of all steps, at `share` of the peak; without reading and decoding images."""
    unlearn = preset.settings["unlearn"]
    return float(flops * unlearn["num_steps"] * unlearn["batch_size"] / (PEAK_FLOPS * share))


def main() -> None:
    """Print a row for each experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}; default: all")
    names = parser.parse_args().names or list(EXPERIMENTS)
    for name in names:
        experiment = EXPERIMENTS[name]
        preset = find_preset(Path(__file__).parents[1] / "presets", experiment.preset)
        flops = flops_of_pair(experiment.case, preset)
        seconds = seconds_of(flops, preset, experiment.share)
        print(
            f"{name}: {flops / 1e9:.1f} GFLOP a pair of images, {seconds:.0f} s at {experiment.share:.0%} of the peak"
        )


if __name__ == "__main__":
    main()
