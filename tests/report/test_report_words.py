import math

import pytest

from i2i_unlearn.report.words import (
    MISSING,
    interval,
    listed,
    memory,
    metric_order,
    metric_words,
    number,
    operator_sentence,
    plain_number,
    seconds,
)


@pytest.mark.parametrize(
    ("value", "digits", "signed", "text"),
    [
        (9.706, 2, False, "9.71"),
        (-0.234, 2, True, "−0.23"),
        (0.5, 1, True, "+0.5"),
        (-0.001, 2, True, "0.00"),  # a sign would tell a direction that is not there
        (math.inf, 2, False, "∞"),
        (math.nan, 2, False, MISSING),
        (None, 2, False, MISSING),
    ],
)
def test_numbers_by_hand(value, digits, signed, text):
    assert number(value, digits, signed=signed) == text


def test_numbers_of_unknown_kind_by_hand():
    texts = {None: MISSING, 0.031: "0.031", -2.92004: "−2.92", 1e-7: "1e−07", 7: "7", 3.0: "3", "at least": "at least"}
    assert {value: plain_number(value) for value in texts} == texts


def test_an_interval_with_a_missing_end_is_no_interval():
    assert interval({"low": 1.0, "high": 2.0}, 1) == "1.0 to 2.0"
    assert interval({"low": None, "high": 2.0}, 1) == ""


def test_durations_and_memory_by_hand():
    assert [seconds(value) for value in (11.62, 93.2, 7801, None)] == ["11.6 s", "1 min 33 s", "2 h 10 min", MISSING]
    assert (memory(700 * 2**20), memory(3 * 2**29), memory(0)) == ("700 MiB", "1.5 GiB", MISSING)


def test_lists_read_as_sentences():
    assert [listed(list(words)) for words in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]


def test_a_distance_names_its_extractor_and_never_passes_for_a_fid():
    assert metric_words("fd_efficientnet_lite0").title == "FD (EfficientNet-Lite0)"
    assert metric_words("kid_other").title == "KID (other)"
    assert metric_words("feature_cosine_clip").title == "Feature cosine (CLIP)"


def test_hole_psnr_comes_first_and_unknown_metrics_last():
    found = ["mine", "own_loss", "kid_x", "feature_cosine_x", "hole_psnr_db"]
    assert metric_order(found) == ["hole_psnr_db", "feature_cosine_x", "kid_x", "own_loss", "mine"]


def test_the_operator_is_told_in_words():
    assert operator_sentence("center_hole", 0.75) == (
        "The models are asked to fill in a hole in the centre; 75% of the pixels stay visible."
    )
