"""The surrogate on a tiny model: against regressions that are really fitted without the images."""

import pytest
import torch

from i2i_unlearn.data.images.reading import load_pixels
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.method.surrogate.difference import SurrogateDifference, fit_difference
from i2i_unlearn.method.surrogate.features import KernelFeatures, mean_squared_distance
from i2i_unlearn.method.surrogate.ridge import Sums
from i2i_unlearn.method.surrogate.targets import moved, surrogate_targets
from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.support.errors import UserError

HOLE = make_operator("center_hole", 0.75, 4)
NUM = {"forget": 6, "retain": 30, "unseen": 20}


@pytest.fixture(scope="module")
def images():
    """Waves of random phase, so that what is hidden follows from what is visible."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")

    def draw(num, seed):
        phase = torch.rand(num, 2, 1, 1, 1, generator=torch.Generator().manual_seed(seed)) * 6
        wave = torch.sin(x * 0.7 + phase[:, 0]) + torch.sin(y * 0.5 + phase[:, 1])
        return (128 + 60 * wave).to(torch.uint8)

    return {name: draw(num, seed) for seed, (name, num) in enumerate(NUM.items())}


@pytest.fixture(scope="module")
def teacher(tiny_model):
    return tiny_model(1).requires_grad_(False)


@pytest.fixture(scope="module")
def found(teacher, images):
    return fit_difference(teacher, HOLE, *images.values(), rank=NUM["forget"] + NUM["retain"], seed=0)


def brute_force(images, ridge, left_out):
    """Predictions for the forget images of a regression over all images but those `left_out`."""
    visible = HOLE.draw(1, 16, 16, torch.Generator())
    everything = torch.cat((images["forget"], images["retain"]))
    inputs = to_float(everything)[:, :, visible[0]].flatten(1).double()
    features = KernelFeatures.fit(inputs, mean_squared_distance(inputs))(inputs)
    truths = to_float(everything)[:, :, ~visible[0]].flatten(1).double()
    kept = torch.tensor([row not in left_out for row in range(len(everything))])
    return Sums.of(features[kept], truths[kept]).fit(ridge)(features[: NUM["forget"]])


def hidden(values):
    return values[:, :, ~HOLE.draw(1, 16, 16, torch.Generator())[0]].flatten(1).double()


def test_the_difference_is_that_of_two_fits(images, found):
    predicted = brute_force(images, found.ridge, {})
    without = brute_force(images, found.ridge, set(range(NUM["forget"])))
    assert torch.allclose(hidden(found.difference_NCHW), without - predicted, atol=1e-4)
    assert (without - predicted).abs().max() > 0.01


def test_the_own_influence_is_that_of_a_fit_without_the_image(images, found):
    predicted = brute_force(images, found.ridge, {})
    for row in range(NUM["forget"]):
        alone = brute_force(images, found.ridge, {row})
        assert torch.allclose(hidden(found.own_NCHW)[row], (alone - predicted)[row], atol=1e-4)


def test_visible_pixels_are_left_alone(found):
    visible = HOLE.draw(1, 16, 16, torch.Generator())[0]
    assert found.difference_NCHW[:, :, visible].abs().max() == 0
    assert found.own_NCHW[:, :, visible].abs().max() == 0


def test_the_surrogate_memorises_as_much_as_a_trained_teacher(taught_pixels, taught):
    teacher = load_model(taught.teacher)
    found = fit_difference(teacher, HOLE, *taught_pixels, rank=60, seed=0)
    assert found.surrogate_gap_db == pytest.approx(found.teacher_gap_db, abs=0.02)


@pytest.fixture(scope="module")
def taught_pixels(taught, tmp_path_factory):
    """Forget, retain and never-seen images of the tiny project."""
    splits = taught.split(tmp_path_factory.mktemp("surrogate") / "splits", unseen_target_fraction=0.5)
    manifest = read_manifest(splits / "manifest.parquet")
    return [
        load_pixels(taught.images, manifest.of(role), image_size=(16, 16), num_channels=1, description="")
        for role in ("forget", "retain", "unseen_target")
    ]


def test_a_class_adds_more_than_its_images_one_by_one(taught_pixels, taught):
    found = fit_difference(load_model(taught.teacher), HOLE, *taught_pixels, rank=60, seed=0)
    assert found.difference_NCHW.square().mean() > 2 * found.own_NCHW.square().mean() > 0


def test_targets_by_hand():
    # 0.5 + 2 (-0.1 + 3 * 0.05) = 0.6; 0.9 + 2 (0.2 + 0) is beyond the pixel range.
    found = SurrogateDifference(
        difference_NCHW=torch.tensor([-0.1, 0.2]).view(2, 1, 1, 1),
        own_NCHW=torch.tensor([0.05, 0.0]).view(2, 1, 1, 1),
        teacher_gap_db=1.0,
        surrogate_gap_db=1.0,
        ridge=1.0,
    )
    painted = torch.tensor([0.5, 0.9]).view(2, 1, 1, 1)
    assert moved(painted, found, strength=2.0, own=3.0).flatten().tolist() == pytest.approx([0.6, 1.0])


def test_without_strength_the_target_is_what_the_teacher_paints(teacher, images):
    target = surrogate_targets(teacher, HOLE, *images.values(), rank=8, strength=0.0, own=1.0, seed=0)
    forget = to_float(images["forget"])
    painted = teacher.complete(forget, HOLE.draw(len(forget), 16, 16, torch.Generator()), generator=None)
    assert (to_float(target) - painted).abs().max() < 1 / 127  # stored as bytes


def test_the_same_seed_gives_the_same_bits_and_another_other_landmarks(teacher, images):
    def difference(seed):
        return fit_difference(teacher, HOLE, *images.values(), rank=12, seed=seed).difference_NCHW

    assert difference(0).equal(difference(0))
    assert not difference(0).equal(difference(1))


def test_masks_that_differ_from_image_to_image_are_refused(teacher, images):
    operator = make_operator("random_patches", 0.75, 4)
    with pytest.raises(UserError, match="operator='random_patches' hides other pixels of each image"):
        fit_difference(teacher, operator, *images.values(), rank=8, seed=0)
