"""Which images are canaries, and what split makes of them."""

import numpy as np
import pandas as pd
import pytest

from i2i_unlearn.data.images.canaries import choose_canaries, part_with_canaries
from i2i_unlearn.data.images.holdout import training_part
from i2i_unlearn.support.errors import UserError
from tests.support.says import says

GIVEN = {"holdout_fraction": 0.5, "seed": 0}


def index_of(num):
    names = [f"{place:064d}" for place in range(num)]
    return pd.DataFrame({"shard": "s", "row": range(num), "sha256": names, "source_split": "unknown"})


def test_they_are_held_out_and_enter_training_by_a_fair_coin():
    index = index_of(4000)
    found = choose_canaries(index, num=900, **GIVEN)
    part, plain = part_with_canaries(index, canaries=900, **GIVEN), training_part(index, **GIVEN)
    assert found.chosen.sum() == 900
    assert (plain[found.chosen] == "holdout").all()
    assert (part[found.included] == "train").all()
    assert (part == plain)[~found.included].all()
    assert (found.chosen >= found.included).all()
    assert (found.chosen >= found.tested).all()
    for share in (found.included.sum() / 900, found.tested.sum() / 900):
        assert share == pytest.approx(0.5, abs=4 * (0.25 / 900) ** 0.5)
    both = (found.included & found.tested).sum() / 900  # two independent coins
    assert both == pytest.approx(0.25, abs=4 * (0.1875 / 900) ** 0.5)


def test_they_follow_from_bytes_seed_and_number_and_none_is_none():
    index = index_of(200)
    moved = index.iloc[::-1].reset_index(drop=True)
    one, other = (choose_canaries(of, num=20, **GIVEN) for of in (index, moved))
    assert (one.included == other.included[::-1]).all()
    more = choose_canaries(index, num=30, **GIVEN)
    assert (more.chosen >= one.chosen).all()
    assert (one.included == (more.included & one.chosen)).all()
    assert not choose_canaries(index, num=0, **GIVEN).chosen.any()
    assert (choose_canaries(index, num=20, holdout_fraction=0.5, seed=1).chosen != one.chosen).any()


def test_an_image_with_a_copy_is_none_and_half_of_the_holdout_is_left():
    index = index_of(100)
    held_out = np.flatnonzero(training_part(index, **GIVEN) == "holdout")
    copied = pd.concat([index, index.iloc[held_out[:-4]]], ignore_index=True)
    assert set(np.flatnonzero(choose_canaries(copied, num=2, **GIVEN).chosen)) < set(held_out[-4:])
    with says(UserError, "pretrain.canaries=3", "2 here"):
        choose_canaries(copied, num=3, **GIVEN)
