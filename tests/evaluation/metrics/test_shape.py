import math

import pytest
import torch

from i2i_unlearn.evaluation.metrics.shape import rim_mean, shapes_of


def grid(*rows):
    """One image with one channel of values in [0, 1], as models take it."""
    return torch.tensor([[rows]], dtype=torch.float32) * 2 - 1


def hides(*rows):
    """True where the picture has a dot."""
    return torch.tensor([[[sign == "." for sign in row] for row in rows]])


def test_a_hole_of_two_by_two_by_hand():
    original = grid([0.2, 0.2, 0.2, 0.2], [0.2, 0.9, 0.9, 0.2], [0.2, 0.9, 0.9, 0.2], [0.6, 0.6, 0.6, 0.6])
    completed = grid([0.2, 0.2, 0.2, 0.2], [0.2, 0.1, 0.3, 0.2], [0.2, 0.5, 0.3, 0.2], [0.6, 0.6, 0.6, 0.6])
    found = shapes_of(completed, original, hides("....", ".##.", ".##.", "...."))
    # values 0.1 0.3 0.5 0.3: mean 0.3, variance (0.04 + 0 + 0.04 + 0) / 4; steps 0.2 and 0.2 across, 0.4 and 0 down
    assert found["contrast"].item() == pytest.approx(math.sqrt(0.02))
    assert found["roughness"].item() == pytest.approx((0.2 + 0.2 + 0.4 + 0.0) / 4)
    # the rim is every visible pixel of so small an image: eight of 0.2 and four of 0.6
    assert rim_mean(original, hides("....", ".##.", ".##.", "....")).item() == pytest.approx(4 / 12)
    assert found["edge"].item() == pytest.approx(4 / 12 - 0.3)


def test_the_rim_ends_two_pixels_away_from_the_hole():
    values = [0.9, 0.0, 0.0, 0.0, 0.4, 0.8, 0.1]
    # hidden are the first two; pixels 2 and 3 are the rim
    assert rim_mean(grid(values), hides("##.....")).item() == pytest.approx(0.0)
    assert rim_mean(grid(values), hides("#.#....")).item() == pytest.approx((0.0 + 0.0 + 0.4) / 3)


def test_of_colours_contrast_and_roughness_are_means_and_the_edge_a_length():
    hole = hides("##..")
    completed = torch.cat([grid([0.0, 0.4, 0.0, 0.0]), grid([0.5, 0.5, 0.0, 0.0])], 1)
    original = torch.zeros(1, 2, 1, 4) - 1
    found = shapes_of(completed, original, hole)
    assert found["contrast"].item() == pytest.approx((0.2 + 0.0) / 2)
    assert found["roughness"].item() == pytest.approx((0.4 + 0.0) / 2)
    assert found["edge"].item() == pytest.approx(math.hypot(0.2, 0.5))


def test_what_does_not_exist_is_nan():
    image = grid([0.1, 0.2, 0.3])
    assert math.isnan(shapes_of(image, image, hides("###"))["edge"].item())  # nothing is visible
    assert math.isnan(shapes_of(image, image, hides("#.#"))["roughness"].item())  # no two neighbours are hidden
    alone = shapes_of(image, image, hides("#.."))
    assert (alone["contrast"].item(), math.isnan(alone["roughness"].item())) == (0.0, True)


def test_only_hidden_pixels_of_the_completion_count_and_each_image_by_itself():
    rng = torch.Generator().manual_seed(0)
    images, completed = (torch.rand(6, 3, 8, 8, generator=rng) * 2 - 1 for _ in range(2))
    visible = torch.rand(6, 8, 8, generator=rng) > 0.4
    found = shapes_of(completed, images, visible)
    changed = torch.where(visible.unsqueeze(1), images, completed)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    for name, values in shapes_of(changed[order], images[order], visible[order]).items():
        assert torch.allclose(values, found[name][order])
