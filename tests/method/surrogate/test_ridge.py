"""Against brute force: every closed form is compared with fits that are really made again."""

import pytest
import torch

from i2i_unlearn.method.surrogate.ridge import Sums, own_influence

NUM, FEATURES, OUTPUTS = 12, 5, 3


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def data():
    return drawn(NUM, FEATURES), drawn(NUM, OUTPUTS, seed=1)


def brute_force(features, truth, ridge):
    """Ridge regression as ordinary least squares over rows that pull each weight to zero."""
    pull = ridge**0.5 * torch.eye(features.shape[1], dtype=torch.float64)
    rows, zeros = torch.cat((features, pull)), torch.zeros(features.shape[1], truth.shape[1], dtype=torch.float64)
    return torch.linalg.lstsq(rows, torch.cat((truth, zeros))).solution


def test_one_dimension_by_hand():
    # Features 1 and 2, truths 3 and 1, ridge 1: F'F = 5, F'Y = 5, weight 5 / 6.
    features, truth = torch.tensor([[1.0], [2.0]]).double(), torch.tensor([[3.0], [1.0]]).double()
    sums = Sums.of(features, truth)
    fit = sums.fit(1.0)
    assert fit.weight_KQ.item() == pytest.approx(5 / 6)
    assert fit(features).flatten().tolist() == pytest.approx([5 / 6, 10 / 6])
    # Leverages 1 / 6 and 4 / 6; errors 13/6 and -4/6, their squares' mean (169 + 16) / 72.
    assert fit.leverage(features).tolist() == pytest.approx([1 / 6, 4 / 6])
    assert sums.mean_squared_error(fit) == pytest.approx(185 / 72)
    # Without the first image: weight 2 / 5, so its prediction falls from 5/6 to 2/5; without the second: 3 / 2, from
    # 10/6 to 3.
    own = own_influence(truth - fit(features), fit.leverage(features))
    assert own.flatten().tolist() == pytest.approx([2 / 5 - 5 / 6, 3 - 10 / 6])


@pytest.mark.parametrize("ridge", [1e-6, 0.3, 100.0])
def test_a_fit_is_that_of_brute_force(data, ridge):
    features, truth = data
    assert torch.allclose(Sums.of(features, truth).fit(ridge).weight_KQ, brute_force(features, truth, ridge))


@pytest.mark.parametrize("ridge", [1e-4, 0.3, 100.0])
def test_the_influence_of_each_image_is_that_of_leaving_it_out(data, ridge):
    features, truth = data
    fit = Sums.of(features, truth).fit(ridge)
    own = own_influence(truth - fit(features), fit.leverage(features))
    for image in range(NUM):
        rest = torch.arange(NUM) != image
        alone = features[image] @ brute_force(features[rest], truth[rest], ridge)
        assert torch.allclose(own[image], alone - fit(features)[image], atol=1e-8)


def test_sums_of_two_sets_are_the_sums_of_their_union(data):
    features, truth = data
    whole, halves = Sums.of(features, truth), Sums.of(features[:5], truth[:5]) + Sums.of(features[5:], truth[5:])
    assert torch.allclose(whole.gram_KK, halves.gram_KK)
    assert torch.allclose(whole.moment_KQ, halves.moment_KQ)
    assert (whole.num, whole.square) == (halves.num, pytest.approx(halves.square))


def test_the_error_on_a_set_needs_its_sums_only(data):
    features, truth = data
    fit = Sums.of(features[:7], truth[:7]).fit(0.1)
    for rows in (slice(0, 7), slice(7, NUM)):
        expected = float((truth[rows] - fit(features[rows])).square().mean())
        assert Sums.of(features[rows], truth[rows]).mean_squared_error(fit) == pytest.approx(expected)


def test_images_without_which_nothing_changes_have_no_influence():
    # The truth of the second image is what the others predict for it: leaving it out changes nothing.
    features, truth = drawn(6, 2), torch.zeros(6, 1, dtype=torch.float64)
    fit = Sums.of(features, truth).fit(0.5)
    assert own_influence(truth - fit(features), fit.leverage(features)).abs().max() == 0
