"""The quality benchmark's arithmetic: intervals, AUC, curves at equal damage, distances of features. Worked by hand."""

import numpy as np
import pytest

from benchmarks.quality.aims import Aim
from benchmarks.quality.feature_scores import frechet
from benchmarks.quality.front import crossing
from benchmarks.quality.intervals import Interval, auc, auc_difference, auc_interval, difference, over_seeds
from i2i_unlearn.evaluation.metrics.class_sums import classifier_score
from i2i_unlearn.evaluation.metrics.frechet_distance import frechet_distance


def test_interval_over_three_seeds_by_hand():
    # mean 2, deviation 1, so the standard error is 1 / sqrt(3); Student's t with 2 degrees of freedom is 4.3027
    found = over_seeds([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half == pytest.approx(4.3027 / np.sqrt(3), abs=1e-4)
    assert found.num == 3
    assert over_seeds([5.0]) == Interval(5.0, None, None, 1)  # one seed has no interval


def test_difference_of_two_means_is_welchs():
    # variances 1 and 4 over 3 seeds each: error sqrt(5/3) = 1.2910;
    # freedom (5/3)^2 / ((1/3)^2 / 2 + (4/3)^2 / 2) = 2.9412, t = 3.2177
    found = difference([1.0, 2.0, 3.0], [8.0, 10.0, 12.0])
    assert found.mean == -8.0
    assert found.half == pytest.approx(3.2177 * 1.2910, abs=5e-3)


def test_against_one_model_only_ones_own_seeds_vary():
    assert difference([1.0, 2.0, 3.0], [10.0]).half == over_seeds([1.0, 2.0, 3.0]).half


def test_auc_by_hand():
    # pairs (member, other): 1<2 yes, 1<3 yes, 2=2 half, 2<3 yes: 3.5 of 4
    assert auc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == 3.5 / 4
    assert auc(np.array([0.0, 0.1]), np.array([0.2, 0.3])) == 1.0  # the member has the smaller loss


def test_the_bootstrap_of_the_auc_contains_it_and_narrows_with_images():
    rng = np.random.default_rng(0)
    wide, narrow = (auc_interval(rng.normal(-0.3, 1, (3, count)), rng.normal(0, 1, (3, count))) for count in (50, 500))
    assert wide.low < wide.mean < wide.high
    assert narrow.half < wide.half / 2


def test_what_all_seeds_have_in_common_cancels_in_the_difference_of_aucs():
    rng = np.random.default_rng(0)
    members, others = rng.normal(-0.3, 1, 100), rng.normal(0, 1, 100)
    same = (np.stack([members] * 3), np.stack([others] * 3))
    found = auc_difference(same, same)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)


def test_the_difference_of_aucs_spreads_with_the_seeds():
    others = np.zeros((3, 100))
    steady = (np.full((3, 100), 0.5), others)
    # Each seed's members have all the same loss: AUC 0, 1/2 and 1, whatever images are drawn.
    unsteady = (np.repeat([[1.0], [0.0], [-1.0]], 100, axis=1), others)
    found = auc_difference(unsteady, steady)
    assert found.mean == 0.5
    # Deviation of the seeds 1/2, of their mean .5 / sqrt(3) = .289, 1.96 of them .57; three seeds give a coarse number.
    assert 0.4 < found.half < 0.72


@pytest.mark.parametrize(
    ("damages", "scores", "damage", "expected"),
    [
        ([0.05, 0.25, 0.5], [9.0, 8.0, 7.5], 0.1, 8.75),  # a quarter of the way from (.05, 9) to (.25, 8)
        ([0.05, 0.25], [9.0, 8.0], 0.3, None),  # nothing is extrapolated
        ([0.2, 0.25], [9.0, 8.0], 0.1, None),
        ([0.0, 0.2, 0.0], [9.0, 8.0, 7.0], 0.1, 7.5),  # passes .1 upward at 8.5, downward at 7.5: it forgets more
        ([0.1, 0.3], [9.0, 8.0], 0.1, 9.0),  # a setting exactly at the damage is taken
    ],
)
def test_forget_score_at_equal_damage_by_hand(damages, scores, damage, expected):
    found = crossing(damages, scores, damage)
    assert found == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("num", [20, 200])
def test_the_quick_frechet_distance_is_the_products(num):
    rng = np.random.default_rng(0)
    original = rng.normal(0, 1, (num, 40)) @ rng.normal(0, 1, (40, 40))
    completed = original * 0.9 + rng.normal(0.2, 0.5, (num, 40))
    assert frechet(original, completed) == pytest.approx(frechet_distance(original, completed), rel=1e-4)
    same = rng.normal(0, 1, (30, 50))
    assert frechet(same, same) == pytest.approx(0, abs=1e-9)


def test_classifier_score_of_one_class_is_one_and_of_sure_different_classes_their_number():
    assert classifier_score(np.tile([3.0, 1.0, 0.0], (5, 1))) == pytest.approx(1.0)
    assert classifier_score(100 * np.eye(4)) == pytest.approx(4.0)


def test_an_aim_is_met_up_to_its_limit_on_the_side_that_matters():
    def aim(mean, **how):
        return Aim("aim", "dB", 0.3, Interval(mean, mean - 0.1, mean + 0.1, 3), **how)

    assert aim(-0.3).is_met
    assert not aim(-0.31).is_met
    assert aim(-5.0, two_sided=False).is_met
    assert not aim(0.25, by_interval=True).is_met  # its upper end is .35
    assert Aim("aim", "dB", 0.3, None).is_met is None
