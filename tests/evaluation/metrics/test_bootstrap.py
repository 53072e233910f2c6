import numpy as np
import pytest

from i2i_unlearn.evaluation.metrics import bootstrap
from i2i_unlearn.evaluation.metrics.bootstrap import Draws, Statistic, draw, measured, weighted_mean


def rng(seed=0):
    return np.random.default_rng(seed)


def mean_of(values):
    return Statistic(weighted_mean(np.asarray(values, dtype=np.float32)))


def mean_measured(values, num_draws, seed=0):
    drawn = draw({"m": mean_of(values)}, num_images=len(values), num_draws=num_draws, rng=rng(seed))
    return measured(drawn["m"], len(values))


def test_a_weighted_mean_by_hand():
    # image 0 drawn twice, image 1 never, image 2 once: (2 * 1 + 4) / 3 = 2
    of = weighted_mean(np.array([1.0, 2.0, 4.0]))
    assert of(np.array([[2.0, 0.0, 1.0], [1.0, 1.0, 1.0]])).tolist() == [2.0, 7 / 3]


def test_every_resampling_draws_as_many_images_as_there_are():
    blocks = list(bootstrap._resampled_counts(7, 50, rng()))
    counts = np.concatenate(blocks)
    assert counts.shape == (50, 7)
    assert (counts.sum(1) == 7).all()
    assert (counts == counts.round()).all()


def test_the_size_of_blocks_does_not_change_the_draws(monkeypatch):
    whole = np.concatenate(list(bootstrap._resampled_counts(10, 23, rng())))
    monkeypatch.setattr(bootstrap, "_MOST_WEIGHTS", 40)
    assert (np.concatenate(list(bootstrap._resampled_counts(10, 23, rng()))) == whole).all()


def test_the_value_counts_every_image_once_and_lies_inside_the_interval():
    found = mean_measured([1, 2, 3, 4], 500)
    assert found["value"] == 2.5
    assert found["num_images"] == 4
    assert 1 <= found["low"] < 2.5 < found["high"] <= 4


def test_equal_values_have_an_interval_of_no_width():
    found = mean_measured([3, 3, 3], 100)
    assert (found["value"], found["low"], found["high"]) == (3.0, 3.0, 3.0)


def test_the_interval_of_a_mean_is_as_wide_as_theory_says():
    # mean of n values: +- 1.96 sigma / sqrt(n)
    values = rng(3).normal(5, 2, 2000)
    found = mean_measured(values, 2000)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * values.std() / np.sqrt(2000), rel=0.08)


def test_the_interval_covers_the_truth_in_about_95_of_100_samples():
    covered = 0
    for seed in range(300):
        found = mean_measured(rng(seed).normal(0, 1, 80), 300, seed + 1000)
        covered += found["low"] <= 0 <= found["high"]
    assert 0.90 <= covered / 300 <= 0.98


def test_a_paired_difference_is_far_narrower_than_its_parts():
    hard = rng(1).normal(0, 10, 400)  # how hard each image is: common to both models
    drawn = draw({"a": mean_of(hard + 1), "b": mean_of(hard)}, num_images=400, num_draws=300, rng=rng())
    difference = measured(drawn["a"].minus(drawn["b"]), 400)
    assert difference["low"] == pytest.approx(1, abs=1e-5)
    assert difference["high"] == pytest.approx(1, abs=1e-5)
    assert measured(drawn["a"], 400)["high"] - measured(drawn["a"], 400)["low"] > 1


def test_a_model_against_itself_differs_by_exactly_nothing():
    drawn = draw({"a": mean_of([1, 5, 9]), "b": mean_of([1, 5, 9])}, num_images=3, num_draws=50, rng=rng())
    assert measured(drawn["a"].minus(drawn["b"]), 3) == {"value": 0.0, "low": 0.0, "high": 0.0, "num_images": 3}


def test_a_ratio_is_taken_draw_by_draw_and_not_by_zero():
    six = Draws(6.0, np.array([6.0, 8.0]))
    assert six.divided_by(Draws(3.0, np.array([2.0, 4.0]))).samples_K.tolist() == [3.0, 2.0]
    assert six.divided_by(Draws(0.0, np.array([1.0, 1.0]))) is None
    assert six.divided_by(Draws(1.0, np.array([1.0, 0.0]))) is None


def test_a_statistic_without_interval_is_asked_once_and_says_so():
    asked = []

    def of(counts):
        asked.append(counts)
        return counts.sum(1)

    found = measured(draw({"fd": Statistic(of, has_interval=False)}, num_images=3, num_draws=50, rng=rng())["fd"], 3)
    assert found == {"value": 3.0, "low": None, "high": None, "num_images": 3}
    assert len(asked) == 1
