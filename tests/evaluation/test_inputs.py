import shutil
from pathlib import Path

import pandas as pd
import pytest

from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.evaluation.inputs import ChosenSet, further_never_seen, read_inputs
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import read_json, write_json

POLICIES = Path(__file__).parents[2] / "mlflow" / "policies"


def test_counts_of_near_copies_come_from_the_split(tiny):
    config = tiny.config("evaluate", policies=read_policies(POLICIES))
    inputs = read_inputs(tiny.images, tiny.splits, tiny.teacher, tiny.artifact("unlearned"), "", "", config)
    summary = read_json(tiny.splits / "summary.json")
    assert inputs.near_duplicates["num_near_duplicates"] == summary["num_near_duplicates"]
    assert all("near_duplicates" in key for key in inputs.near_duplicates)


def test_the_dates_of_requests_come_from_the_split(tiny, tmp_path):
    splits, read = with_changed_splits(tiny, tmp_path)
    summary = read_json(splits / "summary.json")
    (request,) = read().received_and_due
    assert read().received_and_due == {request: (summary["requests_received"], summary["due"])}
    assert summary["requests_received"] < summary["due"]
    write_json(splits / "summary.json", {k: v for k, v in summary.items() if not k.startswith("requests_")})
    assert read().received_and_due == {request: ("", "")}  # a split of an earlier version does not tell


def with_changed_splits(tiny, tmp_path):
    splits = tmp_path / "splits"
    shutil.copytree(tiny.splits, splits)
    config = tiny.config("evaluate", policies=read_policies(POLICIES))
    return splits, lambda: read_inputs(tiny.images, splits, tiny.teacher, tiny.artifact("unlearned"), "", "", config)


def test_a_near_copy_that_was_kept_is_marked_so_that_nobody_is_shown_it(tiny, tmp_path):
    splits, read = with_changed_splits(tiny, tmp_path)
    kept = read().sets["retain"].rows.iloc[2]
    (splits / "near_duplicates.csv").write_text(f"shard,row,done\n{kept['shard']},{kept['row']},kept\n")
    found = read().sets
    assert found["retain"].copies == {2}
    assert not found["retain_holdout"].copies


def test_a_summary_of_another_split_is_refused(tiny, tmp_path):
    splits, read = with_changed_splits(tiny, tmp_path)
    summary = read_json(splits / "summary.json")
    write_json(splits / "summary.json", {**summary, "manifest_sha256": "0" * 64})
    with pytest.raises(
        UserError, match=r"summary\.json is of another manifest\.parquet; run `i2i-unlearn split` again"
    ):
        read()


def chosen(**counts):
    rows = pd.DataFrame({"label": [label for label, count in counts.items() for _ in range(count)]})
    return ChosenSet(rows=rows.assign(hmac_id=[f"{row}" for row in rows.index]), num_images=len(rows))


def further(forget, scored, held_out):
    """Number of further never-seen images by class."""
    nothing = chosen()
    rows = chosen(**held_out).rows
    picked = [
        rows[rows["label"] == label].head(count) for label, count in scored.items()
    ]  # the first of each class are scored
    sets = {
        "forget": chosen(**forget),
        "retain": nothing,
        "forget_holdout": nothing,
        "retain_holdout": ChosenSet(rows=pd.concat(picked), num_images=len(rows)),
    }
    found = further_never_seen(sets, rows, 0)
    assert not set(found["hmac_id"]) & set(sets["retain_holdout"].rows["hmac_id"])
    assert found["hmac_id"].is_unique
    return found["label"].value_counts().to_dict()


def test_further_never_seen_images_bring_classes_up_to_what_a_rank_needs():
    scored = {"a": 20, "b": 40, "c": 40, "z": 1889}  # with 11 to forget 2000: at most 100 further ones
    held_out = {"a": 500, "b": 45, "c": 500, "z": 3000}
    # c, of which most is forgotten, lacks 10 and a 30; b cannot reach 50; c gets what is left
    assert further({"c": 6, "a": 4, "b": 1}, scored, held_out) == {"a": 30, "c": 70}
    # nothing is lacking: what is left brings the class nearer to what is enough
    assert further({"z": 11}, scored, held_out) == {}
    # nothing is left to be scored
    assert further({"b": 11}, {**scored, "b": 45}, held_out) == {}
    assert further({"b": 11}, {"b": 97}, {"b": 97}) == {}
    # the budget does not reach: none, rather than some that do not help
    assert further({"a": 10}, {"a": 20, "z": 470}, held_out) == {}


def test_further_never_seen_images_are_the_same_for_the_same_seed():
    sets = {name: chosen(a=40) for name in ("forget", "retain", "forget_holdout")} | {"retain_holdout": chosen(a=60)}
    rows = chosen(a=400).rows
    one, again = (further_never_seen(sets, rows, 0) for _ in range(2))
    assert one.equals(again)
    assert len(one) == 9  # 5 % of 180
