import pytest
import torch
from torch import nn

from i2i_unlearn.method.synthetic import from_crops, from_noise, from_prototypes, grow, make_synthetic
from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.operators import OPERATORS, make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.support.errors import UserError


class Painter(nn.Module):
    """A teacher that paints hidden pixels in one grey, or in the mean of what is visible, which is its embedding."""

    def __init__(self, grey=None):
        super().__init__()
        self.grey = grey

    def encode(self, images_BCHW, visible_BHW, draws=()):
        visible = visible_BHW.unsqueeze(1)
        return Embedding((((images_BCHW * visible).sum((2, 3)) / visible.sum((2, 3))),))

    def complete(self, images_BCHW, visible_BHW, *, generator):
        mean_BC = self.encode(images_BCHW, visible_BHW).maps[0]
        painted_BC = mean_BC if self.grey is None else torch.full_like(mean_BC, self.grey)
        return torch.where(visible_BHW.unsqueeze(1), images_BCHW, painted_BC[:, :, None, None])


def greys(*values):
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()


def constant(*values):
    """A start that deals grey images, in turn."""

    def draw(num, generator):
        return torch.tensor([values[i % len(values)] for i in range(num)]).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)

    return draw


HOLE = make_operator("center_hole", 0.75, 2)


# --- growing ---


def test_under_a_fixed_operator_the_start_stays_and_the_hole_is_painted():
    grown = grow(Painter(0.25), HOLE, torch.full((3, 1, 8, 8), -1.0), generator_for(0))
    assert (grown[:, :, 2:6, 2:6] == 0.25).all()
    assert (grown == -1).sum() == 3 * 48


def test_under_a_drawn_operator_more_is_painted_than_one_mask_hides():
    grown = grow(
        Painter(0.25), make_operator("random_patches", 0.5, 2), torch.full((4, 1, 8, 8), -1.0), generator_for(0)
    )
    assert ((grown == 0.25).sum((1, 2, 3)) > 40).all()  # of 64; one mask hides 32


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_can_grow_images(name):
    grown = grow(Painter(), make_operator(name, 0.5, 2), torch.zeros(2, 1, 8, 8), generator_for(1))
    assert grown.shape == (2, 1, 8, 8)


# --- leaving out ---


def test_candidates_nearer_to_a_forget_image_than_these_are_to_each_other_are_left_out():
    # Forget images at 0, 10, 20 grey levels: nearest distances of 10 levels each, so the limit is 10 levels.
    forget = greys(100, 110, 120)
    level = 2 / 255
    near, far = (115 * level - 1), (200 * level - 1)
    made = make_synthetic(Painter(), HOLE, constant(near, far), forget, num=64, seed=0)
    assert len(made.images_NCHW) == 64
    border = to_float(made.images_NCHW)[:, :, 0, 0]
    assert (border - near).abs().min() > 10 * level
    assert made.num_left_out >= 64


def test_a_source_that_gives_nothing_but_forget_images_is_refused():
    forget = greys(100, 110, 120)
    with pytest.raises(
        UserError, match=r"of 1024 images that the teacher made, 1024 look like forget images; 5 others"
    ):
        make_synthetic(Painter(), HOLE, constant(110 * 2 / 255 - 1), forget, num=5, seed=0)


def test_a_single_forget_image_leaves_nothing_out():
    made = make_synthetic(Painter(), HOLE, constant(0.0), greys(127), num=5, seed=0)
    assert (len(made.images_NCHW), made.num_left_out) == (5, 0)


def test_the_same_seed_makes_the_same_images_and_another_seed_others():
    start = from_noise(1, 8, 8)
    one, again, other = (
        make_synthetic(Painter(), HOLE, start, greys(0, 1), num=10, seed=seed).images_NCHW for seed in (0, 0, 1)
    )
    assert one.equal(again)
    assert not one.equal(other)
    fewer = make_synthetic(Painter(), HOLE, start, greys(0, 1), num=4, seed=0).images_NCHW
    assert fewer.equal(one[:4])


# --- starts ---


@pytest.mark.parametrize("channels", [1, 3])
def test_starts_are_images_in_range_that_differ(channels):
    photo = torch.randint(0, 256, (4, channels, 16, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for start in (from_noise(channels, 16, 12), from_prototypes(to_float(photo)), from_crops(photo)):
        images = start(20, generator_for(0))
        assert images.shape == (20, channels, 16, 12)
        assert images.abs().max() <= 1
        assert images.isfinite().all()
        assert len(images.unique(dim=0)) > 15


def test_noise_has_more_power_in_slow_waves_than_in_fast_ones():
    images = from_noise(1, 32, 32)(200, generator_for(0))
    power = torch.fft.rfft2(images).abs().square().mean((0, 1))
    assert power[1, 0] > 20 * power[12, 0]
    assert power[0, 1] > 20 * power[0, 12]


def test_a_mixture_is_nearest_to_a_prototype_and_a_crop_of_one_grey_is_that_grey():
    flat = torch.stack([torch.full((1, 8, 8), value) for value in (-0.5, 0.5)])
    images = from_prototypes(flat)(200, generator_for(0))
    assert 0.2 < (images.mean((1, 2, 3)) > 0).float().mean() < 0.8  # both are drawn
    assert torch.allclose(from_crops(greys(51))(5, generator_for(0)), torch.tensor(-0.6), atol=1e-6)
