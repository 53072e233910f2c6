"""When held-out images may stand for single forget images."""

import numpy as np
import pandas as pd

from i2i_unlearn.data.split.holdout_likeness import are_alike


def index(labels, subjects=None):
    return pd.DataFrame({"label": list(labels), "subject": [None] * len(labels) if subjects is None else subjects})


def first(num, of):
    return np.arange(of) < num


def test_the_same_mix_of_labels_is_alike_and_another_is_not():
    held_out = "ab" * 30
    for forgotten, expected in (("ab" * 10, True), ("aabab" * 4, True), ("a" * 20, False), ("c" * 20, False)):
        is_forgotten = first(20, 80)
        assert are_alike(index(forgotten + held_out), is_forgotten, ~is_forgotten) is expected, forgotten


def test_images_of_one_person_are_not_alike_whatever_their_labels():
    is_forgotten = first(20, 80)
    for subjects, expected in ((["p"] * 20, False), ([f"p{i // 2}" for i in range(20)], True), ([None] * 20, True)):
        rows = index("ab" * 40, subjects + [None] * 60)
        assert are_alike(rows, is_forgotten, ~is_forgotten) is expected


def test_one_label_tells_nothing_and_an_empty_set_stands_for_nothing():
    is_forgotten = first(5, 20)
    assert are_alike(index("a" * 20), is_forgotten, ~is_forgotten)
    assert not are_alike(index("a" * 20), is_forgotten, np.zeros(20, dtype=bool))


def test_a_fair_draw_is_seldom_refused():
    rng = np.random.default_rng(0)
    labels = rng.integers(5, size=400).astype(str)
    refused = 0
    for _ in range(100):
        is_forgotten = np.isin(np.arange(400), rng.choice(400, 60, replace=False))
        refused += not are_alike(index(labels), is_forgotten, ~is_forgotten)
    assert refused <= 4  # one is expected
