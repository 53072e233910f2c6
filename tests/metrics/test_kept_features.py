"""The streaming path against torchmetrics, which is given everything at once."""

import numpy as np
import pytest
import torch

from i2i_unlearn.compat_torchvision import ensure_torchvision
from i2i_unlearn.metrics.class_sums import ClassSums, classifier_score
from i2i_unlearn.metrics.features import FeatureRows, FeatureSums, keep_features, sums_of
from i2i_unlearn.metrics.frechet_distance import distance_of_sums

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


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_summed_batch_by_batch_the_distance_is_that_of_torchmetrics(batch):
    from torchmetrics.image.fid import FrechetInceptionDistance

    original, completed = features(40), features(40, shift=0.3, seed=1)
    theirs = FrechetInceptionDistance(feature=AsGiven(7))
    theirs.update(original.double(), real=True)
    theirs.update(completed.double(), real=False)
    ours = distance_of_sums(*(added(FeatureSums(7), rows, batch) for rows in (original, completed)))
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-9)


def test_features_that_never_differ_are_no_obstacle():
    # Singular covariances: rounding makes some of their eigenvalues negative.
    original, completed = features(40), features(40, seed=1)
    padded = [torch.cat((rows, torch.ones(40, 5)), 1) for rows in (original, completed)]
    expected = distance_of_sums(sums_of(original.numpy()), sums_of(completed.numpy()))
    assert distance_of_sums(*(sums_of(rows.numpy()) for rows in padded)) == pytest.approx(expected, abs=1e-5)


def test_few_images_keep_their_rows_and_many_their_sums():
    few, many = keep_features(13, 7), keep_features(14, 7)
    assert isinstance(few, FeatureRows)
    assert isinstance(many, FeatureSums)
    rows = features(13)
    assert (added(few, rows, 5).rows_ND == rows.numpy()).all()


def test_what_is_kept_of_many_images_does_not_grow_with_their_number():
    sizes = [
        sum(part.nbytes for part in vars(keep_features(num, 7)).values() if hasattr(part, "nbytes"))
        for num in (14, 10**7)
    ]
    assert sizes[0] == sizes[1] > 0


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


def test_kernel_distance_is_that_of_torchmetrics_but_for_the_pairs_of_an_image_with_itself():
    # As in test_kernel_distance.py, here against the metric object: one subset of all images.
    from torchmetrics.image.kid import KernelInceptionDistance

    from i2i_unlearn.metrics.kernel_distance import of_kernel, paired_kernel, polynomial_kernel

    x, y = features(30), features(30, shift=0.3, seed=1)
    theirs = KernelInceptionDistance(feature=AsGiven(7), subsets=1, subset_size=30)
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    mixed = polynomial_kernel(x.double().numpy(), y.double().numpy())
    surplus = 2 * (np.trace(mixed) / 30 - (mixed.sum() - np.trace(mixed)) / (30 * 29)) / 30
    ours = of_kernel(paired_kernel(x.numpy(), y.numpy())).of(np.ones((1, 30)))[0]
    assert ours == pytest.approx(float(theirs.compute()[0]) + surplus, rel=1e-4)
