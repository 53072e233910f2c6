"""DVC's experiments as a sweep: queued over alpha with the project's own dvc.yaml, run, and shown as one table."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.sweeps import table as pareto
from i2i_unlearn.sweeps.experiments import fetch_experiments

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # processes that import torch

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DONE = ("pretrain", "snapshot", "split", "unlearn", "reference")
"""Stages that the shared tiny project has run: DVC is told so."""


class Clone:
    """A project under git and DVC with settings of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_", "GIT_"))}
        who = {f"GIT_{role}_{what}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        self.environment = {
            **kept,
            **who,
            "PATH": f"{BIN}{os.pathsep}{kept['PATH']}",
            "HOME": str(folder.parent),
            "OMP_NUM_THREADS": "1",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder.parent / "site"),
        }

    def call(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def commit(self, message: str) -> None:
        self.call("git", "add", ".")
        self.call("git", "commit", "-q", "-m", message)


@pytest.fixture(scope="module")
def clone(tmp_path_factory, tiny) -> Clone:
    folder = tmp_path_factory.mktemp("experiments") / "project"
    folder.mkdir()
    for name in ("src", "mlflow"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("data", "artifacts"):
        shutil.copytree(tiny.folder / name, folder / name)
    for name in ("dvc.yaml", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    params = tiny.params(
        checkpoint_uri="checkpoints",
        snapshot={"source": "artifacts/original/model"},
        unlearn={"num_steps": 4, "warmup_steps": 1},
        evaluate={"max_images": 8, "num_bootstrap": 10},
    )
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    clone = Clone(folder)
    clone.call("git", "init", "-q", "-b", "main")
    clone.call("dvc", "init", "-q")
    shutil.copy(ROOT / ".dvcignore", folder)
    clone.call("dvc", "add", "-q", "data")
    clone.call("dvc", "commit", "-q", "-f", *DONE)
    clone.commit("Begin")
    return clone


def test_before_any_experiment_one_line_says_how_to_make_some(clone, tmp_path):
    with pytest.raises(UserError, match=r"dvc exp run --queue -S unlearn\.alpha"):
        fetch_experiments(clone.folder, tmp_path)


def test_a_folder_without_dvc_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="run this from a project under git and DVC"):
        fetch_experiments(tmp_path, tmp_path / "points")


@pytest.fixture(scope="module")
def queued(clone) -> Clone:
    """Two values of alpha, each an experiment of its own."""
    clone.call("dvc", "exp", "run", "--queue", "-S", "unlearn.alpha=0.5,1")
    clone.call("dvc", "exp", "run", "--run-all")
    return clone


def test_every_experiment_is_a_point_with_its_own_alpha_and_findings(queued, tmp_path):
    folders = fetch_experiments(queued.folder, tmp_path)
    points = {json.loads((folder / "point.json").read_text())["name"]: folder for folder in folders}
    assert set(points) == {"encoder_l2 alpha 0.5", "encoder_l2 alpha 1"}
    rows = {row["name"]: row for row in pareto.tabulate(folders)["points"]}
    assert rows["encoder_l2 alpha 1"]["forgetting"]["value"] < rows["encoder_l2 alpha 0.5"]["forgetting"]["value"] < 0
    assert rows["encoder_l2 alpha 1"]["unlearned_sha256"] != rows["encoder_l2 alpha 0.5"]["unlearned_sha256"]


def test_experiments_train_nothing_but_the_unlearning_again(queued):
    """The other stages' outputs come from the cache: the digests in every experiment's lock are those of the commit."""
    commits = queued.call("dvc", "exp", "list", "--sha-only").split()
    assert len(commits) == 2
    locks = [yaml.safe_load(queued.call("git", "show", f"{one}:dvc.lock"))["stages"] for one in ("HEAD", *commits)]
    for stage in ("pretrain", "snapshot", "split", "reference"):
        assert locks[0][stage]["outs"] == locks[1][stage]["outs"] == locks[2][stage]["outs"]
    models = [lock["unlearn"]["outs"][0]["md5"] for lock in locks]
    assert len(set(models)) == 3


def test_the_workspace_is_left_as_it_was(queued):
    assert queued.call("git", "status", "--porcelain") == ""
    assert not (queued.folder / "artifacts/evaluation").exists()


def test_the_command_shows_the_experiments_as_one_table(queued, command_line):
    ended = command_line(queued.folder, "pareto", "--experiments", "--no-record")
    assert ended.code == 0, ended.err
    assert "artifacts/sweep/pareto/pareto.html" in ended.out
    table = json.loads((queued.folder / "artifacts/sweep/pareto/points.json").read_text())
    assert {row["name"] for row in table["points"]} == {"encoder_l2 alpha 0.5", "encoder_l2 alpha 1"}
    assert table["landmarks"]["reference"] is not None
