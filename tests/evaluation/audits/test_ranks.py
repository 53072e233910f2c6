import numpy as np
import pytest

from i2i_unlearn.evaluation.audits.ranks import FEWEST_OF_CLASS, Comparison, halves, rank_and_shift, ranked, same_class
from i2i_unlearn.evaluation.audits.two_sets import TwoSets, resample


def all_of(num, others):
    return Comparison(np.ones((num, others), dtype=bool), 0)


def mean_rank(values, never_seen, comparison=None, weights=None, other_weights=None):
    values, never_seen = np.array(values, dtype=float), np.array(never_seen, dtype=float)
    comparison = comparison or all_of(len(values), len(never_seen))
    counts = np.array([weights or [1] * len(values)]), np.array([other_weights or [1] * len(never_seen)])
    return ranked(values, never_seen, comparison).mean_rank(*(one.astype(float) for one in counts))[0]


@pytest.mark.parametrize(
    ("values", "never_seen", "expected"),
    [
        ([2.5], [1, 2, 3, 4], 2 / 4),
        ([2], [1, 2, 3, 4], 1.5 / 4),  # a tie counts one half
        ([2, 2], [2, 2], 1 / 2),  # all equal
        ([0], [1], 0),  # one never-seen image
        ([5, 0, 3], [1, 2, 3, 4], (4 + 0 + 2.5) / 12),
    ],
)
def test_ranks_by_hand(values, never_seen, expected):
    assert mean_rank(values, never_seen) == pytest.approx(expected)


def test_an_image_is_ranked_among_those_of_its_class_alone():
    among = Comparison(np.array([[True, True, False, False], [False, False, True, True]]), 0)
    # 1.5 is above one of (1, 2); 9 is above both of (3, 4)
    assert mean_rank([1.5, 9], [1, 2, 3, 4], among) == pytest.approx((0.5 + 1.0) / 2)


def test_an_image_that_was_drawn_twice_counts_twice_on_both_sides():
    # ranks 1/2 (of 1, 3) and 0; the never-seen 1 drawn twice, 3 once: ranks 2/3 and 0
    assert mean_rank([2, 0], [1, 3], weights=[2, 1]) == pytest.approx((2 * 0.5 + 0) / 3)
    assert mean_rank([2, 0], [1, 3], other_weights=[2, 1]) == pytest.approx((2 / 3) / 2)
    # nothing of its class was drawn: the centre
    assert mean_rank([2, 0], [1, 3], other_weights=[0, 0]) == 0.5


def test_classes_with_few_never_seen_images_are_ranked_among_all():
    labels = np.array(["a", "b", "c"])
    never_seen = np.array(["a"] * FEWEST_OF_CLASS + ["b"] * (FEWEST_OF_CLASS - 1))
    found = same_class(labels, never_seen)
    assert found.pooled == 2
    assert found.among_NP.sum(1).tolist() == [FEWEST_OF_CLASS, len(never_seen), len(never_seen)]


def test_halves_split_every_class_and_lose_no_image():
    labels = np.array(["a", "b", "a", "c", "b", "a", "a"])
    one, other = halves(labels, np.random.default_rng(0))
    assert sorted([*one, *other]) == list(range(7))
    for label, count in (("a", 4), ("b", 2), ("c", 1)):
        assert abs(sum(labels[one] == label) - count / 2) <= 0.5
    assert [len(part) for part in halves(np.empty(0, dtype=str), np.random.default_rng(0))] == [0, 0]


def test_a_shift_is_the_difference_of_ranks_and_paired_over_draws():
    never_seen = np.array([1.0, 2, 3, 4])
    own, original = (ranked(np.array(values), never_seen, all_of(2, 4)) for values in ([2.5, 4.5], [0.0, 2.5]))
    drawn = TwoSets(np.array([[1.0, 1], [2, 0]]), np.array([[1.0, 1, 1, 1], [4, 0, 0, 0]]))
    rank, shift = rank_and_shift(own, original, drawn)
    assert (rank.value, shift.value) == (pytest.approx((0.5 + 1.0) / 2), pytest.approx(0.75 - 0.25))
    # second draw: the first image twice, the smallest never-seen image four times: rank 1, and 0 under the original
    assert shift.samples_K == pytest.approx([0.5, 1.0])
    assert rank_and_shift(original, original, drawn)[1].samples_K == pytest.approx([0, 0])


def test_the_order_of_images_changes_nothing():
    rng = np.random.default_rng(3)
    values, never_seen = rng.normal(size=30), rng.normal(size=40)
    order, other = rng.permutation(30), rng.permutation(40)
    assert mean_rank(values[order], never_seen[other]) == pytest.approx(mean_rank(values, never_seen))


def test_never_seen_images_are_hardly_ever_certain_to_differ_from_never_seen_ones():
    """Over 1,000 draws of both: a 95 % interval misses the centre about once in twenty."""
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(1000):
        one = ranked(rng.normal(size=40), rng.normal(size=200), all_of(40, 200))
        low, high = np.quantile(resample(40, 200, 200, rng).draws(one.mean_rank).samples_K, (0.025, 0.975))
        missed += not low <= 0.5 <= high
    assert missed < 90
