import shutil
from pathlib import Path

import pytest

from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.evaluation.inputs import read_inputs
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
