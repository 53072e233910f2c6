"""Lineage both ways, over what the stages registered."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from i2i_unlearn.cli import main
from i2i_unlearn.config.sections import SnapshotConfig
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.data.split.codes import hmac_id
from i2i_unlearn.data.split.manifest import SplitManifest, write_manifest
from i2i_unlearn.evaluation.original import OriginalFacts, find_original
from i2i_unlearn.registry import lineage, tracking
from i2i_unlearn.stages import register, snapshot
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError
from tests.registry.world import Folders, Registered, make_folders, write_params
from tests.support.says import says

KEY = hashlib.sha256(b"tests").digest()
IDS = ("cat-1", "cat-2", "dog-1", "held-out")


def with_roles(folders: Folders, roles: list[str], requests: tuple[str, ...], erased: tuple[str, ...] = ()) -> Folders:
    """The folders with a manifest of the four images in these roles, `held-out` being holdout."""
    path = folders.root / "splits/manifest.parquet"
    rows = pd.DataFrame(
        {
            "shard": "s.parquet",
            "row": range(4),
            "part": ["train", "train", "train", "holdout"],
            "role": roles,
            "hmac_id": [hmac_id(KEY, id_) for id_ in IDS],
        }
    )
    write_manifest(SplitManifest(rows, {"s.parquet": "f" * 64}, requests, erased, "d" * 64), path)
    summary_path = folders.root / "unlearned/summary.json"
    files.write_json(summary_path, {**files.read_json(summary_path), "manifest_sha256": files.digest_file(path)})
    return folders.evaluate()


@pytest.fixture
def chain(teacher, config, tmp_path) -> Registered:
    """Version 1 the original, 2 forgot cat-1, 3 (from 2) forgot dog-1; version 2 was evaluated for another split."""
    register.run_original(teacher, config)
    second = make_folders(tmp_path / "second", teacher, requests=("cats",))
    with_roles(second, ["forget", "retain", "retain", "retain_holdout"], ("cats",))
    register.run(*second.inputs, config)
    third = make_folders(tmp_path / "third", second.model, seed=2, requests=("dogs",), erased=("cats",))
    with_roles(third, ["erased", "retain", "forget", "retain_holdout"], ("dogs",), ("cats",))
    register.run(*third.inputs, config)
    return Registered(config)


def of(chain: Registered, *ids: str) -> dict[str, dict[str, int]]:
    with tracking.connect() as server:
        touches = lineage.of_samples(server, chain.name, {hmac_id(KEY, id_) for id_ in ids})
    return {touch.version: touch.counts for touch in touches}


def test_a_version_is_followed_back_to_the_original(chain):
    with tracking.connect() as server:
        node = lineage.of_version(server, chain.name, "3")
    assert (node.version, node.requests, node.erased) == ("3", ["dogs"], ["cats"])
    assert (node.teacher.version, node.teacher.requests) == ("2", ["cats"])
    assert (node.teacher.teacher.version, node.teacher.teacher.kind) == ("1", "original")
    assert node.teacher.teacher.teacher is None
    tags = chain.tags("3")
    assert (node.run_id, node.gate) == (tags["evaluation_run_id"], "pass")
    assert node.manifest_sha256 == tags["manifest_sha256"]


def test_an_image_is_followed_to_all_versions(chain):
    assert of(chain, "cat-1") == {"1": {"knows": 1}, "2": {"unlearned": 1}, "3": {"unlearned earlier": 1}}
    assert of(chain, "dog-1") == {"1": {"knows": 1}, "2": {"knows": 1}, "3": {"unlearned": 1}}
    assert of(chain, "held-out") == {number: {"never trained on": 1} for number in "123"}
    assert of(chain, "cat-1", "cat-2")["2"] == {"unlearned": 1, "knows": 1}


def test_unlearned_is_said_only_of_what_passed(chain):
    chain.tag("2", gate="fail")
    assert of(chain, "cat-1")["2"] == {"asked to unlearn, gate fail": 1}
    chain.tag("2", gate="undecided")
    assert of(chain, "cat-1", "cat-2")["2"] == {"asked to unlearn, gate undecided": 1, "knows": 1}
    chain.tag("2", accepted_undecided="too few images")
    assert of(chain, "cat-1")["2"] == {"unlearned": 1}


def test_an_image_of_no_manifest_is_told_apart_from_another_key(chain):
    with says(UserError, "none of the 2 split manifests", chain.name, "key"):
        of(chain, "nobody")


def test_a_teacher_that_was_changed_by_hand_is_told(chain):
    chain.tag("2", teacher_version="3")
    with tracking.connect() as server:
        node = lineage.of_version(server, chain.name, "3")
    assert "it was changed by hand" in node.teacher.teacher_note
    chain.tag("2", teacher_version="9")
    with tracking.connect() as server:
        assert "no version '9'" in lineage.of_version(server, chain.name, "2").teacher_note


# --- the original ---


@pytest.fixture
def taken(chain, tmp_path):
    """`taken("3")`: that version as the teacher of the next request, and what `evaluate` finds as its original."""

    def take(number: str) -> tuple[Path, str | Path, OriginalFacts]:
        teacher = tmp_path / f"teacher-{number}"
        config = SnapshotConfig(source=f"models:/{chain.name}/{number}", sha256="", checkpoint={}, model="")
        snapshot.run(teacher, config)
        return teacher, *find_original(teacher / "model")

    return take


def test_a_later_version_brings_its_original_along(chain, taken, teacher):
    folder, original, facts = taken("3")
    assert original == folder / "original/model"
    assert files.digest_folder(original) == files.digest_folder(teacher) == facts.model_sha256
    assert files.digest_folder(folder / "model") == chain.tags("3")["model_sha256"]
    assert facts.in_metrics() == {"model": "original", "source": f"models:/{chain.name}/1", "why": ""}
    (original / "config.json").write_text("{}")
    with says(UserError, f"{original}", "snapshot"):
        find_original(folder / "model")


def test_the_original_is_its_own_original(chain, taken):
    folder, original, facts = taken("1")
    assert original == ""
    assert facts.in_metrics() == {"model": "teacher", "source": f"models:/{chain.name}/1", "why": ""}
    assert [path.name for path in (folder / "original").iterdir()] == ["summary.json"]


def test_what_was_found_for_another_teacher_does_not_count(taken, teacher, tmp_path):
    folder, _, _ = taken("3")
    shutil.copytree(teacher, tmp_path / "other/model")
    shutil.copytree(folder / "original", tmp_path / "other/original")
    assert find_original(tmp_path / "other/model") == ("", OriginalFacts())


def test_an_original_without_its_version_or_weights_is_unknown_and_why_is_told(chain, taken, tmp_path):
    stored = Path(MlflowClient().get_model_version_download_uri(chain.name, "1").removeprefix("file://"))
    stored.rename(tmp_path / "erased")
    try:
        _, original, facts = taken("2")
    finally:
        (tmp_path / "erased").rename(stored)
    assert (original, facts.model, facts.source) == ("", "unknown", f"models:/{chain.name}/1")
    assert "files are gone" in facts.why
    MlflowClient().delete_model_version(chain.name, "1")
    folder, original, facts = taken("3")
    assert (original, facts.model, facts.source) == ("", "unknown", "")
    assert "no version '1'" in facts.why
    assert [path.name for path in (folder / "original").iterdir()] == ["summary.json"]


# --- the command ---


@pytest.fixture
def call(chain, promote_config, tmp_path):
    """`call("--version", "3")`: what the command prints."""
    write_params(tmp_path, chain.config, promote_config)
    (tmp_path / "key").write_text(KEY.hex())

    def call(*words: str) -> str:
        ended = CliRunner().invoke(main.app, ["registry", "lineage", *words], catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
        return ended.output

    return call


def test_a_person_and_a_label_are_followed_by_their_images(call, tmp_path):
    people = {"cat-1": "anna", "cat-2": "ben", "dog-1": "anna", "held-out": None}
    bytes_of = {id_: stored_png(np.full((2, 2), number, np.uint8)) for number, id_ in enumerate(IDS)}
    records = [Record(id_, id_.partition("-")[0], bytes_of[id_], people[id_]) for id_ in IDS]
    write_shards(records, tmp_path / "images", "s")

    def relations(*words: str) -> dict[str, dict[str, int]]:
        told = call(*words, "--images", "images", "--hmac-key-file", "key", "--json")
        assert not any(word in told for word in (*IDS, "anna"))
        return {one["version"]: one["counts"] for one in json.loads(told)}

    assert relations("--subject", "anna") == {
        "1": {"knows": 2},
        "2": {"unlearned": 1, "knows": 1},
        "3": {"unlearned earlier": 1, "unlearned": 1},
    }
    assert relations("--label", "cat")["2"] == {"unlearned": 1, "knows": 1}
    with says(UserError, "images", "subject", "i2i-unlearn data show"):
        relations("--subject", "nobody")


def test_the_command_prints_tree_table_and_json(chain, call):
    tree = call("--version", "3").splitlines()
    assert tree[0] == f"{chain.name} version 3, unlearned (candidate)"
    assert any(line.endswith(f"teacher: {chain.name} version 2, unlearned") for line in tree)
    assert any(line.endswith(f"teacher: {chain.name} version 1, original (champion)") for line in tree)
    found = json.loads(call("--version", "3", "--json"))
    assert found["teacher"]["teacher"]["kind"] == "original"
    key = ("--hmac-key-file", "key")
    assert "unlearned: 1" in call("--sample", "dog-1", *key)
    assert [one["relation"] for one in json.loads(call("--sample", "dog-1", *key, "--json"))] == [
        "knows",
        "knows",
        "unlearned",
    ]
    with says(UserError, "nokey", "key for sample ids", "i2i-unlearn"):
        call("--sample", "dog-1", "--hmac-key-file", "nokey")
    with says(UserError, "--version", "--sample", "--subject", "--label"):
        call("--version", "3", "--sample", "x")
    for words in (("--version", "3"), ("--sample", "dog-1", *key)):
        assert "dog-1" not in call(*words, "--json")
