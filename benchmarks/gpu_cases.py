"""Models of published size for the GPU benchmark, and what a run of unlearning needs besides them.

Imports only what a GPU box has: torch, numpy, the family's library, and the modules of the product that need no more.
Weights and images are random: the time of a step does not depend on them.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.method.noise import Noise
from i2i_unlearn.method.objectives import make_objective
from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.targets import TeacherTargets
from i2i_unlearn.models import family_named
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.training.engine import Schedule, train
from i2i_unlearn.training.sampling import Sampler, single_pool

SEED = 0


@dataclass(frozen=True)
class Case:
    """A model and the batches it is trained on."""

    name: str
    family: str
    architecture: Mapping[str, Any]
    image_size: int
    num_channels: int
    batch_size: int
    """Images of each set in one step: a step sees twice as many."""

    def create(self) -> Any:
        """The model with random weights, on the CPU."""
        return family_named(self.family).create(
            self.architecture,
            image_size=self.image_size,
            num_channels=self.num_channels,
            generator=generator_for(SEED, "gpu benchmark"),
        )

    def images(self, num: int, device: torch.device) -> dict[str, Tensor]:
        """Sets `forget` and `retain` of `num` random images each, uint8 on the device, drawn there."""
        shape = (num, self.num_channels, self.image_size, self.image_size)
        generator = torch.Generator(device).manual_seed(SEED)
        return {
            name: torch.randint(0, 256, shape, generator=generator, device=device, dtype=torch.uint8)
            for name in ("forget", "retain")
        }


MAE = Case("MAE ViT-B/16, 224 px", "mae", {}, image_size=224, num_channels=3, batch_size=128)
"""transformers' defaults are ViT-B/16 and its decoder."""
PALETTE = Case(
    "Palette U-Net, 256 px",
    "diffusion",
    {
        "block_out_channels": (64, 128, 256, 512),
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "num_train_timesteps": 2000,
        "beta_schedule": "linear",
        "beta_start": 1e-6,
        "beta_end": 0.01,
        "prediction_type": "epsilon",
        "conditioning": "noise_level",
        "hidden_as": "noise",
    },
    image_size=256,
    num_channels=3,
    batch_size=16,
)
"""The published size: width 64, multipliers 1, 2, 4, 8, two residual blocks a level, attention in the middle alone."""

SMALL_MAE = Case(
    "MAE, 16 px (small)",
    "mae",
    {
        "patch_size": 4,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 32,
        "initializer_range": 0.1,
    },
    image_size=16,
    num_channels=3,
    batch_size=4,
)
SMALL_PALETTE = Case(
    "U-Net, 16 px (small)",
    "diffusion",
    {**PALETTE.architecture, "block_out_channels": (8, 16), "norm_num_groups": 4, "attention_head_dim": 8},
    image_size=16,
    num_channels=3,
    batch_size=2,
)


class Unlearning:
    """The product's own loop (encoder_l2, a hole, of half the side if nothing is said) on one case and device."""

    def __init__(
        self,
        case: Case,
        images: Mapping[str, Tensor],
        *,
        cache_bytes: int,
        num_noise_draws: int,
        keep_fraction: float = 0.75,
    ) -> None:
        """Put the teacher where the `images` are."""
        device = images["forget"].device
        operator = make_operator("center_hole", keep_fraction, 1)
        zero_CHW = torch.zeros(case.num_channels, case.image_size, case.image_size)
        self.teacher = case.create().eval().to(device).requires_grad_(False)
        self.batches = Sampler(
            {name: single_pool(pixels, case.batch_size) for name, pixels in images.items()},
            operator,
            SEED,
            lambda name, num, generator: self.teacher.draw(num, generator),
        )
        self.targets = TeacherTargets(
            self.teacher,
            operator,
            Noise(zero_CHW, torch.ones_like(zero_CHW), 0),
            images,
            seed=SEED,
            num_noise_draws=num_noise_draws,
            cache_bytes=cache_bytes,
        )

    def run(self, num_steps: int, precision: str) -> list[float]:
        """`num_steps` from the teacher's weights; the total loss of each."""
        schedule = Schedule(
            num_steps=num_steps,
            learning_rate=5e-5,
            weight_decay=0.05,
            warmup_steps=0,
            clip_norm=3.0,
            precision=precision,
            seed=SEED,
        )
        student = copy.deepcopy(self.teacher).requires_grad_(True)
        watcher = Watcher()
        train(
            student,
            make_objective("encoder_l2", Settings(alpha=0.2)),
            self.batches,
            self.targets,
            schedule,
            watcher,
            watcher,
        )
        return watcher.totals


class Watcher:
    """Keeps no checkpoint, but the total loss of every step."""

    def __init__(self) -> None:
        self.totals: list[float] = []

    def step(self, total: float) -> None:
        self.totals.append(total)

    def load(self) -> None: ...
    def save(self, checkpoint: Any) -> None: ...
    def begin(self, done: int, seconds: float) -> None: ...
    def row(self, row: Mapping[str, Any]) -> None: ...
