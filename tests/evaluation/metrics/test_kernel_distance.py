import numpy as np
import pytest
import torch

from i2i_unlearn.evaluation.metrics.kernel_distance import of_kernel, paired_kernel
from i2i_unlearn.support.torchvision_compat import ensure_torchvision


def features(num, size=6, shift=0.0, seed=0):
    return np.random.default_rng(seed).normal(shift, 1, (num, size)).astype(np.float32)


def kid(x, y, counts=None):
    counts = np.ones((1, len(x))) if counts is None else counts
    return of_kernel(paired_kernel(x, y)).of(counts)


def brute_force(x, y):
    """The estimator's definition, pair by pair."""

    def k(a, b):
        return (float(np.dot(a.astype(np.float64), b.astype(np.float64))) / len(a) + 1) ** 3

    n = len(x)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    return sum(k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]) for i, j in pairs) / len(pairs)


def test_value_by_hand():
    # one feature: x = 0, 1; y = 1, 2; k(a, b) = (ab + 1)^3
    # k(x0, x1) = 1, k(y0, y1) = 27, k(x0, y1) = 1, k(x1, y0) = 8: h = 1 + 27 - 1 - 8 = 19 for both orders
    assert kid(np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])).tolist() == [19.0]


def test_equals_its_brute_force_twin():
    x, y = features(9), features(9, shift=0.5, seed=1)
    assert kid(x, y)[0] == pytest.approx(brute_force(x, y), rel=1e-12)


def test_a_resampling_equals_the_brute_force_over_pairs_of_different_images():
    x, y = features(5), features(5, shift=1, seed=1)
    counts = np.array([[2.0, 0.0, 1.0, 1.0, 1.0]])
    h = paired_kernel(x, y)
    drawn = [0, 0, 2, 3, 4]
    pairs = [(i, j) for i in drawn for j in drawn if i != j]
    assert kid(x, y, counts)[0] == pytest.approx(np.mean([h[i, j] for i, j in pairs]), rel=1e-12)


def test_identical_sets_are_at_distance_zero():
    x = features(30)
    assert kid(x, x.copy())[0] == pytest.approx(0, abs=1e-12)


def test_differs_from_torchmetrics_only_by_the_pairs_of_an_image_with_itself():
    ensure_torchvision()
    from torchmetrics.image.kid import poly_kernel, poly_mmd

    x, y = features(20), features(20, shift=0.3, seed=1)
    x_, y_ = torch.from_numpy(x).double(), torch.from_numpy(y).double()
    mixed = poly_kernel(x_, y_).numpy()
    off_diagonal = (mixed.sum() - np.trace(mixed)) / (20 * 19)
    surplus = 2 * (np.trace(mixed) / 20 - off_diagonal) / 20
    assert kid(x, y)[0] == pytest.approx(float(poly_mmd(x_, y_)) + surplus, rel=1e-9)


def test_is_unbiased_between_sets_of_the_same_distribution_and_grows_with_distance():
    near = [kid(features(40, seed=2 * i), features(40, seed=2 * i + 1))[0] for i in range(200)]
    far = [kid(features(40, seed=2 * i), features(40, shift=0.5, seed=2 * i + 1))[0] for i in range(20)]
    assert abs(np.mean(near)) < 3 * np.std(near) / np.sqrt(200)
    assert np.mean(far) > 10 * abs(np.mean(near))


def test_resampling_does_not_shift_the_value():
    # Counting copies of an image as a pair would: k(x, x) is far above the mean of k.
    x, y = features(60, seed=3), features(60, shift=0.4, seed=4)
    counts = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), 2000).astype(float)
    samples = kid(x, y, counts)
    assert np.mean(samples) == pytest.approx(kid(x, y)[0], abs=0.15 * np.std(samples))


def test_a_handful_of_images_has_a_value_but_no_interval():
    # Of two images a draw may hold one alone: no pairs, 0 / 0.
    x, y = features(2), features(2, shift=0.3, seed=1)
    assert not of_kernel(paired_kernel(x, y)).has_interval
    assert np.isfinite(kid(x, y)).all()
    assert of_kernel(paired_kernel(features(10), features(10, seed=1))).has_interval
