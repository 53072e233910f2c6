"""The streaming path against torchmetrics, which is given everything at once."""

import numpy as np
import pytest
import torch

from i2i_unlearn.evaluation.metrics.class_sums import ClassSums, classifier_score
from i2i_unlearn.evaluation.metrics.features import FeatureRows, FeatureSums, keep_features, sums_of
from i2i_unlearn.evaluation.metrics.frechet_distance import distance_of_sums
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

ensure_torchvision()


class AsGiven(torch.nn.Module):
    """Stands where torchmetrics expects an extractor: the features are there already."""

    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features

    def forward(self, features):
        return features


def features(num, size=7, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(num, size)) @ rng.normal(size=(size, size)) + shift
    return torch.from_numpy(mixed.astype(np.float32))


def added(keeper, rows, batch):
    for part in torch.split(rows, batch):
        keeper.add(part)
    return keeper


@pytest.mark.parametrize(
    ("num", "size", "batch"), [(40, 7, 1), (40, 7, 7), (40, 7, 40), (400, 7, 100), (400, 150, 100)]
)
def test_summed_batch_by_batch_the_distance_is_that_of_torchmetrics(num, size, batch):
    from torchmetrics.image.fid import FrechetInceptionDistance

    original, completed = features(num, size), features(num, size, shift=0.3, seed=1)
    theirs = FrechetInceptionDistance(feature=AsGiven(size))
    theirs.update(original.double(), real=True)
    theirs.update(completed.double(), real=False)
    ours = distance_of_sums(*(added(FeatureSums(size), rows, batch) for rows in (original, completed)))
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-9)


def test_features_that_never_differ_are_no_obstacle():
    # Singular covariances: rounding makes some of their eigenvalues negative.
    original, completed = features(40), features(40, seed=1)
    padded = [torch.cat((rows, torch.ones(40, 5)), 1) for rows in (original, completed)]
    expected = distance_of_sums(sums_of(original.numpy()), sums_of(completed.numpy()))
    assert distance_of_sums(*(sums_of(rows.numpy()) for rows in padded)) == pytest.approx(expected, abs=1e-5)


def test_few_images_keep_their_rows_and_many_their_sums():
    few, many = (keep_features(num, 7, np.arange(num)) for num in (13, 14))
    assert isinstance(few, FeatureRows)
    assert isinstance(many, FeatureSums)
    rows = features(13)
    assert (added(few, rows, 5).rows_RD == rows.numpy()).all()


@pytest.mark.parametrize("batch", [1, 5, 13])
def test_of_sampled_images_the_rows_are_kept_in_order(batch):
    sampled = np.array([0, 4, 5, 12])
    rows = features(13)
    assert (added(FeatureRows(sampled, 7), rows, batch).rows_RD == rows.numpy()[sampled]).all()


def test_of_products_little_more_than_half_is_kept():
    # 20 blocks of 64 rows: 1280 * 1281 / 2 products on and above the diagonal, and 64 * 63 / 2 below it in each block
    kept = FeatureSums(1280)
    assert sum(block.numel() for block in kept._blocks) == 1280 * 1281 // 2 + 20 * 64 * 63 // 2


@pytest.mark.parametrize("size", [7, 64, 150])
def test_the_covariance_is_numpys_in_any_order_of_features(size):
    rows = features(200, size)
    summed = added(FeatureSums(size), rows, 33)
    expected = np.cov(rows.double().numpy().T)
    assert summed.covariance() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    order = np.random.default_rng(0).permutation(size)
    assert summed.covariance(order) == pytest.approx(expected[np.ix_(order, order)], rel=1e-9, abs=1e-9)


def test_features_of_lower_rank_have_the_distance_of_what_they_are_made_of():
    # Five features spread over twelve by a rotation: covariances of rank 5, the distance that of the five.
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(12, 12)))[0][:5]
    few = [features(60, 5), features(60, 5, seed=1)]
    expected = distance_of_sums(*(sums_of(rows.numpy()) for rows in few))
    spread = [sums_of(rows.double().numpy() @ rotation) for rows in few]
    assert distance_of_sums(*spread) == pytest.approx(expected, rel=1e-5)


def test_features_that_are_all_the_same_are_at_the_distance_of_their_means():
    # no spread at all: the distance is |m_x - m_y|^2 = 7 * 4
    assert distance_of_sums(sums_of(np.ones((20, 7))), sums_of(np.full((20, 7), 3.0))) == pytest.approx(28)


def test_what_is_kept_of_many_images_does_not_grow_with_their_number():
    def size(num):
        kept = keep_features(num, 7, np.arange(min(num, 10)))
        return sum(part.nbytes for part in vars(kept).values() if hasattr(part, "nbytes"))

    assert size(14) == size(10**7) > 0


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_in_one_part_the_classifier_score_is_torchmetrics_inception_score(batch):
    from torchmetrics.image.inception import InceptionScore

    logits = features(40)
    theirs = InceptionScore(feature=AsGiven(7), splits=1)
    theirs.update(logits)
    with pytest.warns(UserWarning, match="std"):  # of one part there is no deviation
        mean, _ = theirs.compute()
    assert added(ClassSums(), logits, batch).score() == pytest.approx(float(mean), rel=1e-5)


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_parts_are_interleaved_and_their_scores_averaged(batch):
    logits = features(40)
    expected = np.mean([classifier_score(logits[part::10].numpy()) for part in range(10)])
    assert added(ClassSums(10), logits, batch).score() == pytest.approx(expected, rel=1e-12)


def test_fewer_images_than_parts_leave_parts_out():
    logits = features(3)
    assert added(ClassSums(10), logits, 2).score() == pytest.approx(1.0)  # an image alone is like all others
