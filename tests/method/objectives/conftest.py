"""What the tests of objectives share: batches, a teacher's targets on a tiny model, a state."""

from collections.abc import Callable

import pytest
import torch

from i2i_unlearn.method.noise import fit_noise
from i2i_unlearn.method.objectives.base import Batch, Phase, State
from i2i_unlearn.method.targets import TeacherTargets
from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float

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
    """`targets_of(teacher, operator)`: targets without a cache; the surrogate gives negatives."""

    def make(teacher, operator="center_hole"):
        noise = fit_noise(to_float(sets["forget"]), covariance="identity", mean="zero", patch_size=0)
        drawn = make_operator(operator, 0.75, 4)
        negatives = 255 - sets["forget"]
        return TeacherTargets(
            teacher, drawn, noise, sets, seed=0, num_noise_draws=4, cache_bytes=0, surrogate=negatives
        )

    return make


@pytest.fixture(scope="session")
def state_of() -> Callable[..., State]:
    """`state_of(step, phase, memory)`."""

    def make(step=0, phase="unlearn", memory=None):
        return State(step, Phase(phase, 10), {} if memory is None else memory)

    return make


class WrittenModel:
    """E(x) = w x, D(e) = v e on images of one pixel; its loss is (D(E(x)) - truth)^2. All of it is worked by hand."""

    def __init__(self, w=1.0, v=1.0):
        self.w, self.v = torch.nn.Parameter(torch.tensor(w)), torch.nn.Parameter(torch.tensor(v))

    def encode(self, images_BCHW, visible_BHW, draws=()):
        return Embedding(((self.w * images_BCHW).flatten(1).unsqueeze(-1),))

    def decode(self, embedding, visible_BHW):
        return self.v * embedding.maps[0].unsqueeze(-1)

    def training_loss(self, images_BCHW, visible_BHW, *, generator, truth_BCHW=None):
        truth_BCHW = images_BCHW if truth_BCHW is None else truth_BCHW
        output_BCHW = self.decode(self.encode(images_BCHW, visible_BHW), visible_BHW)
        return (output_BCHW - truth_BCHW).square().flatten(1).mean(1)


class WrittenTargets:
    """Targets that are written down: each a list of one number an image."""

    def __init__(self, *, retain=(), noise=(), unseen=(), noise_images=(), outputs=()):
        self.given = {"retain": retain, "noise": noise, "unseen": unseen}
        self.images = {"noise": noise_images, "outputs": outputs}

    def of_images(self, name, batch):
        return self._embedding(name)

    def of_noise(self, batch):
        return self._embedding("noise")

    def like_unseen(self, batch):
        return self._embedding("unseen")

    def noise_images(self, batch):
        return torch.tensor(self.images["noise"]).view(-1, 1, 1, 1)

    def outputs(self, name, batch):
        return torch.tensor(self.images["outputs"]).view(-1, 1, 1, 1)

    def _embedding(self, name):
        return Embedding((torch.tensor(self.given[name]).view(-1, 1, 1),))


@pytest.fixture(scope="session")
def written_model():
    """`written_model(w, v)`: E(x) = w x, D(e) = v e on images of one pixel."""
    return WrittenModel


@pytest.fixture(scope="session")
def written_targets():
    """`written_targets(retain=[1.0], noise=[2.0])`: targets, one number an image."""
    return WrittenTargets


@pytest.fixture(scope="session")
def pixels():
    """`pixels(2.0, 5.0)`: a batch of images of one hidden pixel each."""

    def make(*values):
        images = torch.tensor(values).view(-1, 1, 1, 1)
        return Batch(images, torch.zeros(len(values), 1, 1, dtype=torch.bool), torch.arange(len(values)), 0)

    return make
