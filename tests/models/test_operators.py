import math

import pytest
import torch

from i2i_unlearn.models.operators import OPERATORS, hide, make_operator, read_operator
from i2i_unlearn.support.errors import UserError
from tests.models.samples import generator
from tests.support.says import says

FIXED = sorted(set(OPERATORS) - {"random_patches", "free_form"})


def draw(name, keep_fraction, height, width, *, num=1, patch_size=4, seed=0):
    return make_operator(name, keep_fraction, patch_size).draw(num, height, width, generator(seed))


def rows_of(mask_HW):
    return ["".join(".#"[int(pixel)] for pixel in row) for row in mask_HW]


def test_masks_by_hand():
    # 4 x 4 pixels, # is visible. Hole: sides of sqrt(1 - 3/4) = 1/2; outpaint: a visible centre of the same size.
    assert rows_of(draw("center_hole", 0.75, 4, 4)[0]) == ["####", "#..#", "#..#", "####"]
    assert rows_of(draw("outpaint", 0.25, 4, 4)[0]) == ["....", ".##.", ".##.", "...."]
    assert rows_of(draw("half_left", 0.5, 4, 4)[0]) == ["##.."] * 4
    assert rows_of(draw("half_right", 0.25, 4, 4)[0]) == ["...#"] * 4
    assert rows_of(draw("half_up", 0.75, 4, 4)[0]) == ["####", "####", "####", "...."]
    assert rows_of(draw("half_down", 0.25, 4, 4)[0]) == ["....", "....", "....", "####"]


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("keep_fraction", [0.1, 0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("size", [(16, 16), (28, 28), (12, 32)])
def test_applying_twice_is_applying_once(name, keep_fraction, size):
    images = torch.randn(3, 2, *size, generator=generator(1))
    visible = draw(name, keep_fraction, *size, num=3)
    once = hide(images, visible)
    assert once.equal(hide(once, visible))
    kept = visible.unsqueeze(1).expand_as(images)
    assert once[kept].equal(images[kept])  # what is visible is kept as it is
    assert bool((once[~kept] == 0).all())  # what is hidden is mid-grey


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("keep_fraction", [0.1, 0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("size", [(16, 16), (28, 28), (12, 32)])
def test_the_visible_share_is_keep_fraction_up_to_whole_pixels(name, keep_fraction, size):
    height, width = size
    visible = draw(name, keep_fraction, height, width, num=5)
    share = visible.float().mean((1, 2))
    # The most that half a unit of rounding can move the share, for each operator's own unit.
    if name in ("center_hole", "outpaint"):
        side = math.sqrt(keep_fraction if name == "outpaint" else 1 - keep_fraction)
        rounding = side * (0.5 / height + 0.5 / width) + 0.25 / (height * width)
    elif name in ("half_left", "half_right"):
        rounding = 0.5 / width
    elif name in ("half_up", "half_down"):
        rounding = 0.5 / height
    elif name == "random_patches":
        rounding = 0.5 / (height // 4 * (width // 4))
    else:  # strokes stop before they hide too much
        assert bool((share >= keep_fraction - 1e-6).all())
        rounding = 0.25
    assert bool(((share - keep_fraction).abs() <= rounding + 1e-6).all())


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("keep_fraction", [0.02, 0.98])
def test_something_is_always_visible_and_something_always_hidden(name, keep_fraction):
    visible = draw(name, keep_fraction, 12, 12, num=3)
    shares = visible.float().mean((1, 2))
    assert float(shares.min()) > 0
    assert float(shares.max()) < 1


@pytest.mark.parametrize("name", OPERATORS)
def test_an_image_gets_the_same_mask_whatever_the_batch(name):
    many = draw(name, 0.6, 16, 16, num=7)
    few = draw(name, 0.6, 16, 16, num=3)
    assert many.dtype == torch.bool
    assert tuple(many.shape) == (7, 16, 16)
    assert many[:3].equal(few)


@pytest.mark.parametrize("name", OPERATORS)
def test_masks_are_a_function_of_the_generator_alone(name):
    torch.manual_seed(1)
    one = draw(name, 0.6, 16, 16, num=4, seed=3)
    before = torch.random.get_rng_state()
    torch.manual_seed(2)
    assert one.equal(draw(name, 0.6, 16, 16, num=4, seed=3))
    torch.manual_seed(1)
    assert before.equal(torch.random.get_rng_state())  # nothing was drawn from the global stream


@pytest.mark.parametrize("name", sorted(set(OPERATORS) - set(FIXED)))
def test_random_masks_differ_between_images_and_seeds(name):
    masks = draw(name, 0.6, 32, 32, num=6)
    assert len({mask.numpy().tobytes() for mask in masks}) == 6
    assert not masks.equal(draw(name, 0.6, 32, 32, num=6, seed=1))
    assert not make_operator(name, 0.6, 4).fixed


@pytest.mark.parametrize("name", FIXED)
def test_fixed_masks_are_one_mask_that_is_not_copied(name):
    masks = draw(name, 0.6, 32, 32, num=6)
    assert masks.stride(0) == 0
    assert masks.equal(draw(name, 0.6, 32, 32, num=6, seed=1))
    assert make_operator(name, 0.6, 4).fixed


@pytest.mark.parametrize("name", ["center_hole", "outpaint"])
def test_centred_masks_look_the_same_from_all_sides(name):
    mask = draw(name, 0.75, 28, 28)[0]
    assert mask.equal(mask.flip(0))
    assert mask.equal(mask.flip(1))
    assert mask.equal(mask.T)


@pytest.mark.parametrize(
    ("one", "keep_fraction", "other"),
    [("center_hole", 0.75, "outpaint"), ("half_left", 0.5, "half_right"), ("half_up", 0.5, "half_down")],
)
def test_opposite_masks_share_no_pixel_and_cover_the_image(one, keep_fraction, other):
    assert draw(one, keep_fraction, 28, 28).equal(~draw(other, 1 - keep_fraction, 28, 28))


def test_random_patches_keep_whole_patches_the_same_number_in_each_image():
    # 16 patches, 0.3 of them = 4.8, rounded 5.
    masks = draw("random_patches", 0.3, 16, 16, num=8)
    patches = masks.view(8, 4, 4, 4, 4)
    assert patches.all(4).all(2).equal(patches.any(4).any(2))  # all of a patch or nothing
    assert patches.all(4).all(2).sum((1, 2)).tolist() == [5] * 8


def test_every_patch_is_kept_as_often_as_any_other():
    # 4,000 draws, kept with 0.25: mean 1,000, deviation sqrt(4,000 * .25 * .75) = 27.4; five deviations = 137.
    counts = draw("random_patches", 0.25, 16, 16, num=4000)[:, ::4, ::4].sum(0)
    assert int((counts - 1000).abs().max()) < 137


def test_free_form_hides_as_much_as_it_may():
    # It stops where the next stroke or box would hide too much, so on average not much is left over.
    shares = draw("free_form", 0.6, 64, 64, num=20).float().mean((1, 2))
    assert 0.6 <= float(shares.mean()) < 0.68


def test_an_unknown_operator_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="operator='crop' is not known; choose one of: center_hole, outpaint"):
        make_operator("crop", 0.5, 4)


def test_a_grid_that_does_not_fit_the_image_is_refused():
    with pytest.raises(UserError, match="operator_patch_size=5 does not divide the image size 16x16"):
        draw("random_patches", 0.5, 16, 16, patch_size=5)


@pytest.mark.parametrize("label", ["outpaint:0.25", "random_patches:0.5"])
def test_a_label_names_the_operator_that_it_was_made_of(label):
    name, _, fraction = label.partition(":")
    assert read_operator(label, 4) == make_operator(name, float(fraction), 4)
    assert read_operator(label, 4).label == label


@pytest.mark.parametrize("label", ["outpaint", "outpaint:", "outpaint:much", "outpaint:1", "outpaint:nan"])
def test_a_label_of_another_form_is_refused(label):
    with says(UserError, label, "NAME:KEEP_FRACTION", "center_hole:0.75"):
        read_operator(label, 4)
