import math

import pytest
import torch

from i2i_unlearn.method.surrogate.features import KernelFeatures, mean_squared_distance


def inputs(num, seed=0):
    return torch.randn(num, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_kernel_by_hand():
    # Two points at squared distance 2, width 2: k = 1 + 1/e between them and 2 of each with itself.
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    features = KernelFeatures.fit(points, 2.0)(points)
    expected = torch.tensor([[2, 1 + math.exp(-1)], [1 + math.exp(-1), 2]], dtype=torch.float64)
    assert torch.allclose(features @ features.T, expected, atol=1e-6)


def kernel(one, other, width):
    return 1 + torch.exp(-(torch.cdist(one, other) ** 2) / width)


def test_with_all_images_as_landmarks_the_kernel_is_exact():
    points = inputs(20)
    features = KernelFeatures.fit(points, 5.0)(points)
    assert torch.allclose(features @ features.T, kernel(points, points, 5.0), atol=1e-6)


def test_more_landmarks_come_closer_to_the_kernel():
    points, others = inputs(60), inputs(60, seed=1)
    exact = kernel(others, others, 8.0)

    def error(num):
        features = KernelFeatures.fit(points[:num], 8.0)(others)
        return float((features @ features.T - exact).square().mean())

    assert error(60) < 0.5 * error(20) < 0.25 * error(5)


def test_equal_landmarks_are_no_obstacle():
    points = inputs(3).repeat(2, 1)
    features = KernelFeatures.fit(points, 5.0)(points)
    assert torch.allclose(features @ features.T, kernel(points, points, 5.0), atol=1e-6)


def test_the_mean_distance_is_that_over_all_pairs():
    points = inputs(7)
    assert mean_squared_distance(points) == pytest.approx(float((torch.cdist(points, points) ** 2).mean()))
