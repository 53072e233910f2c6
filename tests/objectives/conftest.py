"""What the tests of objectives share: batches, a teacher's targets on a tiny model, a state."""

from collections.abc import Callable

import pytest
import torch

from i2i_unlearn.noise import fit_noise
from i2i_unlearn.objectives.base import Batch, Phase, State
from i2i_unlearn.operators import make_operator
from i2i_unlearn.pixels import to_float
from i2i_unlearn.targets import TeacherTargets

SETS = {"retain": 9, "forget": 7, "unseen_target": 5}


@pytest.fixture(scope="session")
def sets():
    """uint8 images of each set."""
    generator = torch.Generator().manual_seed(7)
    return {
        name: torch.randint(0, 256, (count, 1, 16, 16), dtype=torch.uint8, generator=generator)
        for name, count in SETS.items()
    }


@pytest.fixture(scope="session")
def batches_of(sets) -> Callable[..., dict[str, Batch]]:
    """`batches_of(operator, step, forget_seed)`: four images of each set; other seeds give other forget images."""

    def make(operator="center_hole", *, step=0, forget_seed=0):
        generator = torch.Generator().manual_seed(100 + step)
        batches = {}
        for name, images in sets.items():
            rows = torch.arange(4)
            chosen = to_float(images[rows])
            if name == "forget" and forget_seed:
                chosen = torch.rand(chosen.shape, generator=torch.Generator().manual_seed(forget_seed)) * 2 - 1
            visible = make_operator(operator, 0.75, 4).draw(4, 16, 16, generator)
            batches[name] = Batch(chosen, visible, rows, step)
        return batches

    return make


@pytest.fixture(scope="session")
def targets_of(sets) -> Callable[..., TeacherTargets]:
    """`targets_of(teacher, operator)`: what the teacher gives, nothing cached."""

    def make(teacher, operator="center_hole"):
        noise = fit_noise(to_float(sets["forget"]), covariance="identity", mean="zero", patch_size=0)
        drawn = make_operator(operator, 0.75, 4)
        return TeacherTargets(teacher, drawn, noise, sets, seed=0, num_noise_draws=4, cache_bytes=0)

    return make


@pytest.fixture(scope="session")
def state_of() -> Callable[..., State]:
    """`state_of(step, phase, memory)`."""

    def make(step=0, phase="unlearn", memory=None):
        return State(step, Phase(phase, 10), {} if memory is None else memory)

    return make
