"""Trains every objective on every family for a few steps.

`torchrun ... -m tests.support.shared_runs OUT` or in one process.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from i2i_unlearn.method.noise import fit_noise
from i2i_unlearn.method.objectives import OBJECTIVES, make_objective
from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.processes import joined
from i2i_unlearn.method.targets import TeacherTargets
from i2i_unlearn.models import family_named
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.support.device import num_threads
from i2i_unlearn.training.engine import Schedule, Silent, train
from i2i_unlearn.training.sampling import Pool, Sampler, single_pool
from tests.support.stores import Kept

SIZE, BATCH, STEPS = 16, 8, 4
FAMILIES = {
    "mae": {
        **{"patch_size": 4, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"intermediate_size": 16, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1},
        **{"decoder_num_attention_heads": 2, "decoder_intermediate_size": 16, "initializer_range": 0.1},
    },
    "diffusion": {
        **{"block_out_channels": [8, 16], "norm_num_groups": 4, "attention_head_dim": 8, "patch_size": 2},
        **{"num_train_timesteps": 100, "sampling_steps": 2},
    },
    "vqgan": {
        **{"num_codes": 16, "code_size": 8, "tokenizer_width": 8, "tokenizer_multipliers": [1, 1, 2]},
        **{"tokenizer_num_blocks": 1, "tokenizer_norm_groups": 4, "initializer_range": 0.1, "decoding_steps": 2},
        **{"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2},
    },
}
DRAWS_ON_THE_DEVICE = "random_encoder"
"""Its noise has the shape of feature maps and is drawn by each process for itself."""


def model_of(family, seed):
    return family_named(family).create(
        FAMILIES[family], image_size=SIZE, num_channels=1, generator=torch.Generator().manual_seed(seed)
    )


def pools():
    """Sets of whole images and a retain set of two parts, as with a proxy set."""
    images = {
        name: torch.randint(256, (12, 1, SIZE, SIZE), generator=generator_for(0, name), dtype=torch.uint8)
        for name in ("retain", "forget", "unseen_target")
    }
    return {
        "retain": Pool(images["retain"], ((8, 6), (4, 2))),
        "forget": single_pool(images["forget"], BATCH),
        "unseen_target": single_pool(images["unseen_target"], BATCH),
    }


def trained(family, objective_name, processes, num_steps):
    """The weights after `num_steps` steps, by name."""
    teacher, student = model_of(family, 0).requires_grad_(False), model_of(family, 1)
    sets = pools()
    operator = make_operator("random_patches", 0.75, 4)
    objective = make_objective(objective_name, Settings(alpha=0.5, first_phase=0.5, seed=3))
    images = {name: pool.images_BCHW for name, pool in sets.items()}
    targets = TeacherTargets(
        teacher,
        operator,
        fit_noise(to_float(images["forget"]), covariance="identity", mean="zero", patch_size=0),
        images,
        seed=0,
        num_noise_draws=4,
        cache_bytes=0,
        surrogate=images["forget"].flip(0),
    )
    schedule = Schedule(
        num_steps=num_steps, learning_rate=0.01, weight_decay=0.0, warmup_steps=0, clip_norm=1.0, precision="fp32"
    )
    needed = {name: pool for name, pool in sets.items() if name in objective.needs}
    sampler = Sampler(needed, operator, 0, lambda name, num, generator: teacher.draw(num, generator, emphasis=1.0))
    with num_threads(1):
        train(student, objective, sampler, targets, schedule, Kept(), Silent(), processes)
    return {f"{family}/{objective_name}/{name}": part.detach() for name, part in student.named_parameters()}


def everything(processes, num_steps=STEPS):
    found = {}
    for family in FAMILIES:
        for name in OBJECTIVES:
            found |= trained(family, name, processes, num_steps)
    return {name: part.clone().contiguous() for name, part in found.items()}


def main(out):
    with joined("cpu") as processes:
        found = everything(processes)
        save_file(found, Path(out) / f"{processes.rank}.safetensors")


if __name__ == "__main__":
    main(sys.argv[1])
