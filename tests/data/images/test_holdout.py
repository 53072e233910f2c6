import hashlib

import numpy as np
import pandas as pd

from i2i_unlearn.data.images.holdout import draws, training_part


def index(count, source_split="unknown"):
    digests = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(count)]
    return pd.DataFrame({"sha256": digests, "source_split": source_split})


def parts(table, fraction=0.2, seed=0):
    return training_part(table, holdout_fraction=fraction, seed=seed)


def test_the_sources_own_split_decides_where_it_is_known():
    table = index(300)
    table["source_split"] = ["train", "val", "unknown"] * 100
    part = parts(table, fraction=0.9)
    assert set(part[0::3]) == {"train"}
    assert set(part[1::3]) == {"holdout"}
    assert set(part[2::3]) == {"train", "holdout"}


def test_the_fraction_is_kept_within_chance():
    # 10,000 draws: standard deviation of the share is sqrt(.2 * .8 / 10,000) = .004
    assert abs((parts(index(10_000)) == "holdout").mean() - 0.2) < 0.016


def test_adding_or_removing_images_moves_no_other_image():
    assert parts(index(50)).tolist() == parts(index(500))[:50].tolist()


def test_a_larger_fraction_only_adds_to_the_holdout_and_another_seed_holds_out_others():
    small, large, other = (
        parts(index(1000), fraction, seed) == "holdout" for fraction, seed in ((0.1, 0), (0.3, 0), (0.1, 1))
    )
    assert (large[small]).all()
    assert large.sum() > small.sum()
    assert (small != other).any()


def test_copies_share_their_part_and_a_copy_of_a_training_image_is_no_holdout():
    table = pd.DataFrame({"sha256": ["a", "a", "b"], "source_split": ["train", "val", "val"]})
    assert parts(table).tolist() == ["train", "train", "holdout"]
    part = parts(pd.concat([index(100), index(100)], ignore_index=True), fraction=0.5)
    assert part[:100].tolist() == part[100:].tolist()


def test_draws_for_two_purposes_are_independent():
    one, other = draws(index(4000), "holdout", 0), draws(index(4000), "proxy", 0)
    # the correlation of independent draws has standard deviation 1 / sqrt(4,000) = .016
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.064
    assert one.min() >= 0
    assert one.max() < 1


def test_a_draw_worked_out_by_hand():
    # the first 48 bits of sha256("cap:7:ff"), over 2^48
    first = hashlib.sha256(b"cap:7:ff").hexdigest()[:12]
    assert draws(pd.DataFrame({"sha256": ["ff"]}), "cap", 7).tolist() == [int(first, 16) / 2**48]
