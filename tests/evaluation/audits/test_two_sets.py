"""How well a score tells members from others: by hand, in closed form, and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from i2i_unlearn.evaluation.audits.two_sets import auc, clopper_pearson, curve, found_at, mean_difference, resample


def once(statistic, num_members, num_others):
    return float(statistic(np.ones((1, num_members)), np.ones((1, num_others)))[0])


def test_an_auc_by_hand():
    # Pairs (member, other): 3>2, 3>1, 1<2, 1=1: (1 + 1 + 0 + 1/2) / 4.
    members, others = np.array([3.0, 1.0]), np.array([2.0, 1.0])
    assert once(auc(members, others), 2, 2) == 2.5 / 4


def test_weights_count_an_image_as_often_as_it_was_drawn():
    # The member 3 twice and 1 not at all, the other 2 once and 1 once: both pairs of 3 are won.
    statistic = auc(np.array([3.0, 1.0]), np.array([2.0, 1.0]))
    found = statistic(np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert found.tolist() == [1.0, 0.0]


def test_a_tpr_by_hand():
    # Of ten others the highest is 9: at an FPR of 0 the members above it are 10 and 12; at 0.1 that at 9 itself counts.
    members, others = np.array([12.0, 10.0, 9.0, 3.0]), np.arange(10.0)
    none, one = found_at(0.01, members, others), found_at(0.1, members, others)
    assert (none.tpr, none.threshold, none.fpr) == (0.5, 9.0, 0.0)
    assert (one.tpr, one.threshold, one.fpr) == (0.75, 8.0, 0.1)
    assert (one.low, one.high) == clopper_pearson(3, 4)


def test_others_with_equal_scores_pass_a_threshold_together():
    # The two highest others are equal: at 10 % of ten, one of them may pass, so neither does.
    found = found_at(0.1, np.array([5.0, 9.0, 10.0]), np.array([9.0, 9.0, *range(8)]))
    assert (found.tpr, found.threshold, found.fpr) == (pytest.approx(1 / 3), 9.0, 0.0)


def test_one_other_and_one_member():
    found = found_at(0.01, np.array([1.0]), np.array([1.0]))
    assert (found.tpr, found.low, found.high, found.fpr) == (0.0, 0.0, pytest.approx(0.975), 0.0)


@pytest.mark.parametrize(
    ("num", "of", "low", "high"),
    [
        (0, 10, 0.0, 1 - 0.025**0.1),  # (1 - high)^10 = 2.5 %
        (10, 10, 0.025**0.1, 1.0),
        (1, 1, 0.025, 1.0),
        (1, 2, 1 - 0.975**0.5, 0.975**0.5),  # P(X >= 1) = 1 - (1 - low)^2 = 2.5 %; P(X <= 1) = 1 - high^2 = 2.5 %
    ],
)
def test_an_exact_interval_by_hand(num, of, low, high):
    assert clopper_pearson(num, of) == (pytest.approx(low), pytest.approx(high))


def test_a_difference_of_means_by_hand():
    assert once(mean_difference(np.array([1.0, 3.0]), np.array([4.0])), 2, 1) == -2.0


@pytest.mark.parametrize("decimals", [0, 8])  # 0: many ties
def test_scikit_learn_finds_the_same(decimals):
    rng = np.random.default_rng(0)
    members, others = rng.normal(0.5, 1, 60).round(decimals), rng.normal(0, 1, 130).round(decimals)
    labels, scores = np.r_[np.ones(60), np.zeros(130)], np.r_[members, others]
    assert once(auc(members, others), 60, 130) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert found_at(0.05, members, others).tpr == pytest.approx(tpr[fpr <= 0.05].max(), abs=1e-12)
    drawn = resample(60, 130, 3, rng)
    weighted = auc(members, others)(drawn.member_KN, drawn.other_KP)
    for number, found in enumerate(weighted):
        weights = np.r_[drawn.member_KN[number], drawn.other_KP[number]]
        assert found == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12)


def test_two_gaussians_have_the_auc_of_theory():
    # P(N(d, 1) > N(0, 1)) = Phi(d / sqrt 2).
    rng = np.random.default_rng(1)
    members, others = rng.normal(1.0, 1, 4000), rng.normal(0, 1, 4000)
    theory = 0.5 * (1 + math.erf(1.0 / 2))
    assert once(auc(members, others), 4000, 4000) == pytest.approx(theory, abs=0.015)


def test_the_interval_is_as_wide_as_theory_says_and_holds_both_sets():
    # Equal Gaussians, n = m = 100: variance of the AUC is (n + m + 1) / (12 n m).
    rng = np.random.default_rng(2)
    scores = auc(rng.normal(size=100), rng.normal(size=100))
    found = resample(100, 100, 2000, rng).draws(scores).samples_K
    assert np.std(found) == pytest.approx(math.sqrt(201 / 120_000), rel=0.15)
    members_only = scores(resample(100, 100, 2000, rng).member_KN, np.ones((2000, 100)))
    assert np.std(members_only) < 0.8 * np.std(found)


def test_the_same_draws_leave_no_interval_between_equal_scores():
    rng = np.random.default_rng(3)
    members, others = rng.normal(size=30), rng.normal(size=40)
    drawn = resample(30, 40, 70, rng)  # more draws than one block
    one, same = drawn.draws(auc(members, others)), drawn.draws(auc(2 * members, 2 * others))
    assert len(one.samples_K) == 70
    assert not one.minus(same).samples_K.any()


def test_a_curve_has_the_corners_and_their_area_is_the_auc():
    members, others = np.array([3.0, 1.0]), np.array([2.0, 0.0])
    assert curve(members, others) == {"fpr": [0.0, 0.0, 0.5, 0.5, 1.0], "tpr": [0.0, 0.5, 0.5, 1.0, 1.0]}
    many = np.random.default_rng(4).normal(size=300)
    drawn = curve(many[:200] + 0.3, many[200:])
    assert np.trapezoid(drawn["tpr"], drawn["fpr"]) == pytest.approx(
        once(auc(many[:200] + 0.3, many[200:]), 200, 100), abs=1e-3
    )
