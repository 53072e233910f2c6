"""The table that stands for an original whose weights are destroyed: the same verdict comes out."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.evaluation.inputs import ChosenSet
from i2i_unlearn.evaluation.original import TABLE, OriginalFacts
from i2i_unlearn.evaluation.original_table import FILE, make_table, read_table, write_table
from i2i_unlearn.models import load_model
from i2i_unlearn.stages import evaluate
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder, read_json
from tests.conftest import ROOT
from tests.evaluation.quick import QUICK, quick
from tests.support.says import says

POLICIES = read_policies(ROOT / "mlflow/policies")
OTHER = "half_left:0.5"
SETTINGS = {"policies": POLICIES, "policy": "as_unseen", "operators": [OTHER], **QUICK}
RANKED = {"audits": {"run": ["rank_shift", "membership"]}}


@pytest.fixture(scope="module")
def table(tiny):
    config = tiny.config("evaluate", **SETTINGS)
    manifest = read_manifest(tiny.splits / "manifest.parquet")
    device = torch.device("cpu")
    return make_table(tiny.images, manifest, load_model(tiny.teacher, ""), digest_folder(tiny.teacher), config, device)


@pytest.fixture(scope="module")
def second(tiny, table, tmp_path_factory):
    """A champion that has forgotten, next to it the table of its original; and a model unlearned from it."""
    folder = tmp_path_factory.mktemp("second")
    shutil.copytree(tiny.artifact("unlearned/model"), folder / "teacher/model")
    facts = {"model_sha256": digest_folder(tiny.teacher), "teacher_sha256": digest_folder(folder / "teacher/model")}
    OriginalFacts(model=TABLE, source="models:/x/1", **facts).write(folder / "teacher/original")
    write_table(table, folder / "teacher/original" / FILE)
    tiny.unlearn(folder / "unlearned", teacher=folder / "teacher/model", num_steps=3, warmup_steps=1)
    return folder


def evaluated(tiny, second, out, original="", **changes):
    config = tiny.config("evaluate", **SETTINGS | RANKED | changes)
    parts = (tiny.images, tiny.splits, second / "teacher/model", second / "unlearned", "", out)
    with quick():
        evaluate.run(*parts, config, original=original)
    return [read_json(out / f"{name}.json") for name in ("metrics", "verdicts")]


def assert_near(one, other):
    """The same nested data, numbers within the rounding of float32."""
    if isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            assert_near(one[key], other[key])
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-4)
    else:
        assert one == other


def test_the_table_says_what_the_weights_said(tiny, second, tmp_path):
    by_table, verdicts = evaluated(tiny, second, tmp_path / "table")
    by_weights, expected = evaluated(tiny, second, tmp_path / "weights", original=tiny.teacher)
    assert by_table["models"] == by_weights["models"]
    assert by_table["original"] == {"model": "table", "source": "models:/x/1", "why": ""}
    for one, other in ((by_table, by_weights), *[(by["operators"][OTHER] for by in (by_table, by_weights))]):
        ranks = [dict(of["audits"]["rank_shift"]["models"]) for of in (one, other)]
        assert_near(*ranks)
        pair = "unlearned-original"
        for name, of_set in one["differences"][pair].items():
            assert_near(of_set["hole_psnr_db"], other["differences"][pair][name]["hole_psnr_db"])
        assert_near(one["gaps"], other["gaps"])
        assert_near(one["classes"], other["classes"])
    lines = [
        [
            (line["name"], line["outcome"])
            for line in found["verdicts"]["as_unseen"]["lines"]
            if "rank" in line["measure"]
        ]
        for found in (verdicts, expected)
    ]
    assert lines[0] == lines[1]
    assert set(by_table["audits"]["membership"]["models"]) <= {"teacher", "unlearned"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 1}, "seed 1 (it has 0)"),
        ({"operators": ["outpaint:0.25"]}, "operator outpaint:0.25"),
        ({"operators": ["random_patches:0.5"]}, "operator random_patches:0.5"),
    ],
)
def test_another_operator_or_seed_is_refused_in_one_line(tiny, second, tmp_path, changes, told):
    with says(UserError, "weights are destroyed", told):
        evaluated(tiny, second, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_another_key_and_moved_masks_are_refused(tiny, table):
    manifest = read_manifest(tiny.splits / "manifest.parquet")
    config = tiny.config("evaluate", **SETTINGS)
    table.check(manifest, config)
    with says(UserError, "another key"):
        table.check(replace(manifest, key_code="0"), config)
    drawn = tiny.config("evaluate", **SETTINGS | {"operators": ["random_patches:0.5"]})
    of_drawn = replace(
        table, rows=table.rows.assign(operator=table.rows["operator"].replace(OTHER, "random_patches:0.5"))
    )
    of_drawn.check(manifest, drawn)
    with says(UserError, "random_patches:0.5", "shards have changed"):
        of_drawn.check(replace(manifest, image_digest="0"), drawn)


def test_a_table_comes_back_as_it_was_and_holds_no_name_and_no_statistics(tiny, table, tmp_path):
    write_table(table, tmp_path / "a")
    write_table(table, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = read_table(tmp_path / "a")
    assert again.facts == table.facts
    assert again.rows.equals(table.rows.astype(again.rows.dtypes.to_dict()))
    manifest = read_manifest(tiny.splits / "manifest.parquet")
    assert set(again.rows["code"]) == set(manifest.rows["hmac_id"])
    assert len(again.rows) == 2 * len(manifest.rows)
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-100])
    with says(UserError, "damaged", "snapshot"):
        read_table(tmp_path / "a")
    with says(UserError, "no table", "snapshot"):
        read_table(tmp_path / "c")


def test_images_that_came_after_the_table_are_not_scored(table):
    codes = table.rows["code"].unique()[:3]
    rows = table.rows.drop_duplicates("code").head(3).rename(columns={"code": "hmac_id"})
    rows = rows.assign(shard="s", row=range(3), label="")[["shard", "row", "hmac_id", "label"]]
    chosen = ChosenSet(rows=rows, num_images=3, copies=frozenset({2}))
    assert table.known(chosen) is chosen
    fewer = replace(table, rows=table.rows[table.rows["code"] != codes[1]])
    found = fewer.known(chosen)
    assert found.rows["hmac_id"].tolist() == [codes[0], codes[2]]
    assert found.copies == {1}
    answers = fewer.answers(found, OTHER)
    of_other = table.rows[table.rows["operator"] == OTHER].set_index("code")
    np.testing.assert_array_equal(answers.hole_error_N, of_other.loc[found.rows["hmac_id"], "error"])
