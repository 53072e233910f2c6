"""Calibrated membership by hand, and its laws."""

import numpy as np
import pytest

from i2i_unlearn.evaluation.audits.calibration import calibrated, worst


def test_scores_by_hand():
    # x: mean(log 4, log 1) - log 1 = log 2. The reference of 4 against the other: log 1 - log 4.
    losses = {"teacher": [1.0], "unlearned": [2.0], "reference": [4.0], "reference_2": [1.0]}
    found = calibrated({name: np.log(values) for name, values in losses.items()})
    expected = {"teacher": np.log(2), "unlearned": 0.0, "reference": -np.log(4), "reference_2": np.log(4)}
    assert {name: pytest.approx(values.tolist(), abs=1e-12) for name, values in found.items()} == {
        name: [value] for name, value in expected.items()
    }


def test_without_a_reference_nothing_is_calibrated():
    assert calibrated({"teacher": np.zeros(3), "original": np.zeros(3), "unlearned": np.zeros(3)}) == {}


def test_a_single_reference_has_no_score_of_its_own():
    assert set(calibrated({"teacher": np.zeros(3), "reference": np.zeros(3)})) == {"teacher"}


def test_a_copy_of_the_only_reference_is_told_from_nothing():
    losses = np.random.default_rng(0).normal(size=20)
    assert not calibrated({"unlearned": losses, "reference": losses.copy()})["unlearned"].any()


def test_an_image_that_is_hard_for_every_model_is_no_member():
    losses = np.array([0.0, 5.0])
    assert calibrated({"teacher": losses - 1, "reference": losses})["teacher"].tolist() == [1.0, 1.0]


def test_the_worst_are_ranked_and_equal_ones_keep_their_order():
    assert worst(np.array([0.0, 2.0, 1.0, 2.0])) == [1, 3, 2, 0]
    assert worst(np.array([7.0])) == [0]
    assert worst(np.arange(30.0)) == list(range(29, 9, -1))
