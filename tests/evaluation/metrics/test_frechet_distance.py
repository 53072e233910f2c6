import numpy as np
import pytest

from i2i_unlearn.evaluation.metrics import frechet_distance as module
from i2i_unlearn.evaluation.metrics import kernel_distance
from i2i_unlearn.evaluation.metrics.frechet_distance import frechet_distance, is_frechet_reliable


def gaussian(mean, covariance, num=4, seed=0):
    """A set whose mean and (n - 1) covariance are exactly as given: every distance has a closed form."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(num, len(mean)))
    z -= z.mean(0)
    z = z @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T))).T
    return (z @ np.linalg.cholesky(np.asarray(covariance, dtype=float)).T + mean).astype(np.float64)


def test_two_gaussians_have_the_closed_form():
    # diagonal: |m|^2 + sum (s_x - s_y)^2 = (9 + 16) + (1 - 2)^2 + (3 - 1)^2 = 30
    x = gaussian([0, 0], np.diag([1.0, 9.0]), num=50)
    y = gaussian([3, 4], np.diag([4.0, 1.0]), num=60, seed=1)
    assert frechet_distance(x, y) == pytest.approx(30, abs=1e-6)


def test_two_gaussians_that_do_not_commute_have_the_closed_form():
    # trace (A B)^(1/2) = sum of the roots of the eigenvalues of A B
    a, b = np.array([[2.0, 0.8], [0.8, 1.0]]), np.array([[1.0, -0.5], [-0.5, 3.0]])
    expected = np.trace(a) + np.trace(b) - 2 * np.sqrt(np.linalg.eigvals(a @ b).real).sum()
    assert frechet_distance(gaussian([0, 0], a, 40), gaussian([0, 0], b, 40, seed=1)) == pytest.approx(
        expected, abs=1e-6
    )


def test_identical_sets_are_at_distance_zero():
    x = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    assert frechet_distance(x, x.copy()) == pytest.approx(0, abs=1e-6)


def test_needs_twice_as_many_images_as_features():
    assert is_frechet_reliable(2560, 1280)
    assert not is_frechet_reliable(2559, 1280)


@pytest.mark.parametrize(("num_images", "is_fd"), [(12, True), (11, False)])
def test_every_set_has_either_a_frechet_or_a_kernel_distance(num_images, is_fd, observations):
    seen = observations(num_images=num_images, num_features=6)
    assert (module.statistic(seen) is not None) == is_fd
    assert (kernel_distance.statistic(seen) is None) == is_fd
