"""Two requests on their way through git and DVC: filed, split, pushed, pulled elsewhere, promoted, erased."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.config.sections import load_params
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.split.codes import create_key
from i2i_unlearn.data.split.manifest import ROLES, read_manifest
from i2i_unlearn.registry.requests import find_champion
from i2i_unlearn.support import ledger

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MODEL = load_params(ROOT / "params.yaml")["register"]["model_name"]
MANIFEST = "artifacts/splits/manifest.parquet"

DVC_YAML = {
    "stages": {
        "split": {
            "cmd": "i2i-unlearn split --images data/images --requests data/forget --out artifacts/splits",
            "deps": ["data/images", "data/forget"],
            "params": ["split", "seed", "holdout_fraction"],
            "outs": [MANIFEST],
            "metrics": [{"artifacts/splits/summary.json": {"cache": False}}],
        }
    }
}


class Clone:
    """A clone of the project, with its own home so that no setting of this machine enters."""

    def __init__(self, folder, home):
        self.folder = folder
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "I2I_", "GIT_"))},
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "DVC_NO_ANALYTICS": "1",
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@example.org",
        }

    def call(self, *command, check=True):
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stderr}{done.stdout}"
        return done

    def add_request(self, *words, check=True):
        return self.call("i2i-unlearn", "request", "add", *words, "--commit", check=check)

    def commit(self, message):
        self.call("git", "add", ".")
        self.call("git", "commit", "-q", "-m", message)

    def manifest(self):
        return (self.folder / MANIFEST).read_bytes()

    def roles(self):
        """Role of every image, by label."""
        images = str(self.folder / "data/images")
        rows = read_manifest(self.folder / MANIFEST, images).rows
        labels = read_index(images)["label"].to_numpy()
        return {label: set(rows["role"][labels == label]) for label in "abc"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project under git and DVC with 90 images of three labels and no request yet."""
    root = tmp_path_factory.mktemp("dvc")
    folder, home = root / "project", root / "home"
    home.mkdir()
    write_shards((Record(f"id-{i}", "abc"[i % 3], bytes([i])) for i in range(90)), folder / "data/images", "s")
    params = (ROOT / "params.yaml").read_text().replace("[digit-3]", "[]").replace("share: 0.11", "share: 1.0")
    assert "search: true" in params
    (folder / "params.yaml").write_text(params.replace("search: true", "search: false"))  # no byte here is a picture
    (folder / "dvc.yaml").write_text(yaml.safe_dump(DVC_YAML))
    (folder / ".gitignore").write_text("/.secrets/\n/mlflow.db\n")
    create_key(str(folder / ".secrets/hmac.key"))
    clone = Clone(folder, home)
    clone.call("git", "init", "-q", "-b", "main")
    clone.call("dvc", "init", "-q")
    (folder / ".dvc/config").write_text(
        f"[core]\n    remote = store\n['remote \"store\"']\n    url = {root / 'store'}\n"
    )
    clone.call("dvc", "add", "-q", "data")
    clone.commit("Begin")
    return clone


@pytest.fixture(scope="module")
def elsewhere(project):
    """The first request filed, split and pushed; then a second clone that pulled it."""
    project.add_request("first", "--label", "a", "--received", "2026-01-10")
    project.call("dvc", "repro")
    project.commit("Split")
    project.call("dvc", "push")
    other = Clone(project.folder.parent / "clone", project.folder.parent / "home")
    project.call("git", "clone", "-q", str(project.folder), str(other.folder))
    other.call("dvc", "pull")
    return other


def test_filing_with_commit_leaves_nothing_to_version(elsewhere):
    log = elsewhere.call("git", "log", "--format=%s").stdout.split("\n")
    assert log[:3] == ["Split", "Add forget request first", "Begin"]
    changed = elsewhere.call("git", "show", "--name-only", "--format=", "HEAD~1").stdout.split()
    assert changed == ["data.dvc", "params.yaml"]
    assert elsewhere.call("git", "status", "--porcelain").stdout == ""


def test_another_clone_pulls_the_same_request_and_the_same_manifest(project, elsewhere):
    request = "data/forget/first.yaml"
    assert (elsewhere.folder / request).read_bytes() == (project.folder / request).read_bytes()
    assert elsewhere.manifest() == project.manifest()
    assert elsewhere.roles() == {
        "a": {"forget", "forget_holdout"},
        "b": {"retain", "retain_holdout", "unseen_target"},
        "c": {"retain", "retain_holdout", "unseen_target"},
    }


def test_the_other_clone_has_nothing_to_do_and_needs_no_key(elsewhere):
    assert not (elsewhere.folder / ".secrets").exists()
    assert "Stage 'split' didn't change, skipping" in elsewhere.call("dvc", "repro").stdout


@pytest.mark.parametrize("changed", ["params.yaml", "data/note.txt"])
def test_a_commit_takes_nothing_else_along(elsewhere, changed):
    path = elsewhere.folder / changed
    before = path.read_bytes() if path.exists() else None
    with path.open("a") as file:
        file.write("# tried\n")
    done = elsewhere.add_request("alone", "--label", "b", check=False)
    assert (elsewhere.folder / "data/forget/alone.yaml").exists() is False
    path.unlink() if before is None else path.write_bytes(before)
    assert done.returncode == 1
    assert all(word in done.stderr for word in (changed.partition("/")[0], "--commit would take them along", "first"))
    assert elsewhere.call("git", "log", "--format=%s", "-1").stdout == "Split\n"


def test_a_failed_commit_leaves_everything_as_it_was(elsewhere):
    hook = elsewhere.folder / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no commits on Fridays >&2\nexit 1\n")
    hook.chmod(0o755)
    before = (elsewhere.folder / "params.yaml").read_bytes()
    done = elsewhere.add_request("refused", "--label", "b", check=False)
    hook.unlink()
    assert done.returncode == 1
    assert done.stderr.strip().split("\n")[-1].endswith("failed, nothing was changed: no commits on Fridays")
    assert "Traceback" not in done.stderr
    assert elsewhere.call("git", "status", "--porcelain").stdout == ""
    assert (elsewhere.folder / "params.yaml").read_bytes() == before
    assert not (elsewhere.folder / "data/forget/refused.yaml").exists()


@pytest.fixture(scope="module")
def second(project, elsewhere):
    """The first request is promoted; a second one is filed in the other clone, split, pushed and pulled back."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{elsewhere.folder / 'mlflow.db'}")
    client.create_registered_model(MODEL)
    for tags in ({}, {"requests": "first", "model_sha256": "e" * 64}):
        client.create_model_version(MODEL, source=f"file://{elsewhere.folder}/model", tags=tags)
    client.set_registered_model_alias(MODEL, "champion", "2")
    # What a promotion writes, and no commit has yet: it goes along with the next request.
    with ledger.opened(elsewhere.folder / "data/forget/forgotten.jsonl") as record:
        record.append({"requests": ["first"], "key_code": "0" * 32, "codes": []})
    elsewhere.add_request("second", "--label", "b", "--received", "2026-02-10")
    (elsewhere.folder / ".secrets").mkdir()
    shutil.copy(project.folder / ".secrets/hmac.key", elsewhere.folder / ".secrets")
    elsewhere.call("dvc", "repro")
    elsewhere.commit("Split again")
    elsewhere.call("dvc", "push")
    project.call("git", "pull", "-q", str(elsewhere.folder), "main")
    project.call("dvc", "pull")
    return elsewhere


def test_the_promoted_request_is_erased_and_the_champion_is_the_teacher(second):
    params = load_params(second.folder / "params.yaml")
    assert (params["split"]["requests"], params["split"]["erased"]) == (["second"], ["first"])
    assert params["snapshot"] == {"source": f"models:/{MODEL}/2", "sha256": "e" * 64, "checkpoint": {}}


def test_erased_images_come_back_nowhere(second):
    assert second.roles() == {
        "a": {"erased"},
        "b": {"forget", "forget_holdout"},
        "c": {"retain", "retain_holdout", "unseen_target"},
    }
    manifest = read_manifest(second.folder / MANIFEST)
    used = manifest.of(*(role for role in ROLES if role != "erased"))
    assert len(used) == 60
    assert set(used["row"] % 3) == {1, 2}
    assert (manifest.requests, manifest.erased) == (("second",), ("first",))


def test_the_second_manifest_comes_back_to_the_first_clone(project, second):
    assert project.manifest() == second.manifest()


def test_who_is_champion_is_asked_of_the_real_registry(second, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{second.folder / 'mlflow.db'}")
    assert find_champion(MODEL).requests == ("first",)
