import numpy as np
import pytest

from i2i_unlearn.serving.guard.calibrate import rate, threshold_for


def test_the_threshold_lets_through_all_but_the_share_that_was_asked_for():
    similarities = np.arange(100) / 100
    # 5 of 100 may be refused: 0.95 ... 0.99; refused is what lies above
    assert threshold_for(similarities, 0.05) == pytest.approx(0.94)
    assert (similarities > threshold_for(similarities, 0.05)).sum() == 5
    assert threshold_for(similarities, 0.009) == pytest.approx(0.99)


def test_many_equal_similarities_are_not_refused_beyond_the_share():
    similarities = np.array([0.1] * 5 + [0.9] * 5)
    assert (similarities > threshold_for(similarities, 0.2)).mean() <= 0.2


def test_the_rate_of_nothing_has_the_rule_of_threes_interval():
    found = rate(np.zeros(300), 0.5)
    # exact: 1 - 0.025 ** (1 / 300) = 0.01222
    assert (found.value, found.low, found.num_images) == (0.0, 0.0, 300)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 300))
    assert rate(np.ones(4), 0.5).low == pytest.approx(0.025 ** (1 / 4))


def test_on_new_images_of_the_same_kind_the_rate_is_the_one_asked_for():
    rng = np.random.default_rng(0)
    threshold = threshold_for(rng.normal(size=20_000), 0.02)
    found = rate(rng.normal(size=20_000), threshold)
    assert found.value == pytest.approx(0.02, abs=0.004)
    assert found.low < found.value < found.high
