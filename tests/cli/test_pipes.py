"""Digests and paths are whole where output goes into a pipe, however narrow the terminal."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.support import ledger
from tests.cli.test_main import commands as all_commands

ROOT = Path(__file__).parents[2]
LONG = Path("a-folder-whose-name-is-longer-than-forty-columns-and-more")
PROGRAM = """
import glob, json, sys
from i2i_unlearn.cli import main
for words in json.loads(sys.argv[1]):
    words = [found for word in words for found in (sorted(glob.glob(word)) if "*" in word else [word])]
    sys.argv = ["i2i-unlearn", *words]
    try:
        main.main()
    except SystemExit as end:
        assert not end.code, (words, end.code)
    print("--- end", flush=True)
"""
POLICY = {
    "schema_version": 1,
    "name": "easy",
    "asks": "anything",
    "if_passed": "Anything passes.",
    "lines": [
        {
            "name": "scored",
            "measure": {"model": "unlearned", "set": "forget", "metric": "hole_psnr_db"},
            "at_least": -100,
            "if_below": "no number",
            "why": "so that the version can be promoted",
        }
    ],
}
NOT_RUN = {
    "demo": "takes minutes; tests/cli/test_last_screen.py and test_demo.py",
    "data protocol": "needs a published set; tests/data/importers",
    "doctor": "fails where this machine lacks something; tests/cli/doctor_checks",
    "registry keep-table": "needs many images; tests/registry/test_original_table.py",
    "registry restore": "needs a lost champion; tests/registry/test_project_registry.py",
    "export": "needs a published file; tests/models/published",
    "pipeline run": "many processes; tests/pipeline/local",
    "forget": "many processes; tests/cli/test_forget.py and test_demo.py",
    "init": "makes a project; tests/project",
    "set": "changes a project; tests/project",
    "upgrade": "changes a project; tests/project",
    "find": "an index of descriptions; tests/cli/test_find.py",
    **dict.fromkeys(
        (f"pipeline {name}" for name in ("cancel", "list", "logs", "schedule", "submit", "upload", "watch")),
        "needs a server of Kubeflow; tests/pipeline/cluster",
    ),
}


def piped(folder, commands, **environment):
    """What each command prints into a pipe, by its words."""
    environment = {key: value for key, value in os.environ.items() if key != "LINES"} | environment
    words = json.dumps([list(map(str, command)) for command in commands])
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return dict(zip(commands, ended.stdout.split("--- end\n")[:-1], strict=True))


@pytest.fixture
def place(tmp_path, taught, params_written):
    """A folder to run commands in: quick settings, a policy that all models pass, two pictures, a request to file."""
    params_written(
        tmp_path,
        taught,
        checkpoint_uri="checkpoints",
        pretrain={"num_steps": 2},
        unlearn={"num_steps": 2, "warmup_steps": 1},
        evaluate={"policy": "easy", "max_images": 6, "num_bootstrap": 10, "audits": {"run": []}},
        sweep={"num_workers": 1},
        guard={"max_images": 40},
        register={"model_name": "piped", "experiment": "piped"},
    )
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/easy.yaml").write_text(yaml.safe_dump(POLICY))
    shutil.copytree(taught.requests, tmp_path / LONG / "forget")
    shutil.copy(tmp_path / "params.yaml", tmp_path / LONG)
    (tmp_path / "pets/cat").mkdir(parents=True)
    for number in range(2):
        (tmp_path / f"pets/cat/{number}.png").write_bytes(stored_png(np.full((16, 16), number, np.uint8)))
    for name in ("mlflow", "presets", "components", "pipelines"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_digests_and_paths_are_whole_in_a_pipe(place, taught, mlflow_home):
    images, splits = ("--images", taught.images), ("--splits", taught.splits)
    teacher, policies = ("--teacher", taught.unrecorded_teacher), ("--policies", "policies")
    unlearned, reference = ("--unlearned", LONG / "unlearned"), ("--reference", LONG / "reference")
    evaluation, requests = ("--evaluation", LONG / "evaluation"), ("--requests", taught.requests)
    given, filed = (*images, *splits, *teacher), ("--requests", LONG / "forget", "--params", LONG / "params.yaml")
    signed_by, says = ("--key", LONG / "keys/private.pem"), ("--by", "R. Smith", "--reason", LONG)
    package = LONG / "registry_check.yaml"
    preset = ("preset", "use", "paper", "--params", LONG / "params.yaml")
    commands = {
        ("data", "show", *images): ["tiny"],
        ("data", "list", "--label", "b", *images): ["b-39"],
        ("data", "canaries", *images): [],
        ("data", "key", "--path", LONG / "key"): [LONG / "key"],
        ("data", "embedded", "digits", "--out", LONG / "data"): [LONG / "data/images/digits.parquet"],
        ("data", "import", "pets", "--out", LONG / "data"): [LONG / "data/images/pets.parquet"],
        ("data", "prototypes", *images, *teacher, "--out", LONG / "prototypes"): [f"{LONG}/prototypes:"],
        ("request", "add", "all-c", "--label", "c", *images, *filed, *policies): [
            LONG / "forget/all-c.yaml",
            "Next: dvc repro",
        ],
        ("request", "list", *filed): ["all-c"],
        ("request", "show", "all-c", *images, *filed, *policies): ["all-c"],
        (*preset, "--presets", "presets"): ["unlearn."],
        preset: [LONG / "params.yaml"],
        ("preset", "list"): ["paper"],
        ("preset", "show", "paper"): ["unlearn"],
        ("split", *images, *requests, "--hmac-key-file", taught.key, "--out", LONG / "splits"): [LONG / "splits"],
        ("pretrain", *images, "--out", LONG / "original"): [LONG / "original/model"],
        ("snapshot", "--out", LONG / "teacher"): [LONG / "teacher/model", taught.artifact("original") / "model"],
        ("unlearn", *given, "--out", LONG / "unlearned"): [LONG / "unlearned/model"],
        ("reference", *given, "--out", LONG / "reference"): [LONG / "reference"],
        ("evaluate", *given, *unlearned, *reference, *policies, "--out", LONG / "evaluation"): [
            LONG / "evaluation/report.html",
            "Next: i2i-unlearn register",
        ],
        ("sweep", *given, *reference, *policies, "--alphas", "1", "--no-record", "--out", LONG / "sweep"): [
            LONG / "sweep/pareto/pareto.html"
        ],
        ("pareto", LONG / "sweep/points/*", "--no-record", "--out", LONG / "pareto"): [LONG / "pareto/pareto.html"],
        ("register", "--original", taught.teacher): ["version 1", "Next: i2i-unlearn register"],
        ("register", *evaluation, *unlearned, *teacher, *splits): ["version 2", "Next: i2i-unlearn registry promote"],
        ("registry", "promote", "--by", "R. Smith", "--reason", LONG): ["version 2", "evidence create --version 2"],
        ("registry", "rollback", "--force", *says): ["version 1"],
        ("registry", "check"): ["version 1"],
        ("registry", "lineage", "--version", "2"): ["version 1"],
        ("registry", "ledger", "verify"): ["promotions.jsonl"],
        ("registry", "ledger", "show"): [LONG, "R. Smith"],
        ("keys", "create", "--out", LONG / "keys"): [LONG / "keys/private.pem", LONG / "keys/public.pem"],
        (
            *("evidence", "create", *evaluation, *unlearned, *teacher, *splits, *requests, *policies, *signed_by),
            *("--out", LONG / "evidence"),
        ): [LONG / "evidence", f"Next: i2i-unlearn evidence verify {LONG}/evidence --key {LONG}/keys/public.pem"],
        ("evidence", "verify", LONG / "evidence", "--key", LONG / "keys/public.pem"): [LONG / "evidence"],
        ("evidence", "show", LONG / "evidence"): [],
        ("review", "make", *given, *unlearned, *reference, *policies, "--out", LONG / "review"): [
            f"{LONG}/review/forget-images-all-b-until-"
        ],
        ("review", "clean", "--folder", LONG / "review"): [f"{LONG}/review/forget-images-all-b-until-"],
        (
            *("guard", "make", *images, *splits, *requests, "--model", taught.teacher, "--out", LONG / "guard"),
            *("--expires", "2999-01-01"),
        ): [place / LONG / "guard", "2999-01-01", "not unlearning"],
        ("guard", "check", LONG / "guard"): [LONG / "guard", "2999-01-01"],
        ("complete", "--model", LONG / "unlearned/model", "--in", "pets", "--out", LONG / "completed"): [
            LONG / "unlearned/model",
            LONG / "completed",
        ],
        ("pipeline", "compile", "--pipeline", "registry_check", "--out", package): [package],
        ("pipeline", "manifests", "--package", package, "--out", LONG / "manifests.yaml"): [LONG / "manifests.yaml"],
    }
    names = {" ".join(words) for words, _ in all_commands()}
    run = {name for name in names for words in commands if words[: name.count(" ") + 1] == tuple(name.split())}
    assert run | set(NOT_RUN) == names  # a new command: run it here, or say why not
    assert not run & set(NOT_RUN)

    uri = f"sqlite:///{mlflow_home}/mlflow.db"
    printed = piped(place, commands, COLUMNS="40", MLFLOW_TRACKING_URI=uri)
    for words, facts in commands.items():
        for fact in facts:
            assert str(fact) in printed[words], words
    model = json.loads((place / LONG / "unlearned/summary.json").read_text())["model_sha256"]
    for words in (("registry", "lineage", "--version", "2"), ("evidence", "show", LONG / "evidence")):
        assert model in printed[words]
    newest = ledger.verify(place / "promotions.jsonl")[1]
    assert newest in printed["registry", "ledger", "verify"]


def test_only_progress_uses_a_library_that_crops():
    """All else is printed by typer.echo, which never does."""
    using = {
        path
        for path in (ROOT / "src").rglob("*.py")
        if "import rich" in (text := path.read_text()) or "from rich" in text
    }
    assert [path.name for path in using] == ["progress.py"]
