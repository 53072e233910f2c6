"""Digests and paths are whole where output goes into a pipe, whatever width a terminal would have."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from i2i_unlearn.registry import ledger

ROOT = Path(__file__).parents[2]
LONG = Path("a-folder-whose-name-is-longer-than-forty-columns-and-more")
PROGRAM = """
import json, os, sys
from i2i_unlearn.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["i2i-unlearn", *words]
    try:
        main.main()
    except SystemExit as end:
        assert not end.code, (words, end.code)
    print("--- end", flush=True)
"""


def piped(folder, commands, columns):
    """What each command prints into a pipe."""
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    environment |= {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", **({"COLUMNS": columns} if columns else {})}
    words = json.dumps([list(map(str, command)) for command in commands])
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split("--- end\n")[:-1]


@pytest.mark.parametrize("columns", ["", "40"], ids=["no width", "40 columns"])
def test_digests_and_paths_are_whole_in_a_pipe(tmp_path, taught, params_written, columns):
    params_written(tmp_path, taught, unlearn={"num_steps": 2}, pretrain={"num_steps": 2})
    with ledger.opened(tmp_path / "moves.jsonl") as record:
        record.append({"event": "promote", "model_name": "m", "version": "1", "reason": str(LONG)})
    given = ("--images", taught.images, "--splits", taught.splits, "--teacher", taught.teacher)
    model = json.loads((taught.artifact("teacher") / "summary.json").read_text())["model_sha256"]
    commands = {
        ("data", "show", "--images", taught.images): ["tiny"],
        ("data", "key", "--path", LONG / "key"): [LONG / "key"],
        ("pretrain", "--images", taught.images, "--out", LONG / "original"): [LONG / "original/model"],
        ("snapshot", "--out", LONG / "teacher"): [LONG / "teacher/model", taught.artifact("original") / "model"],
        ("unlearn", *given, "--out", LONG / "unlearned"): [LONG / "unlearned/model"],
        ("snapshot", "--json", "--out", LONG / "again"): [model],
        ("keys", "create", "--out", LONG / "keys"): [LONG / "keys/private.pem"],
        ("register", "--original", taught.teacher): ["version 1"],
        ("registry", "lineage", "--version", "1"): [model],
        ("registry", "ledger", "verify", "--ledger", "moves.jsonl"): [ledger.verify(tmp_path / "moves.jsonl")[1]],
    }
    for words, printed in zip(commands, piped(tmp_path, commands, columns), strict=True):
        for fact in commands[words]:
            assert str(fact) in printed, words


def test_only_progress_uses_a_library_that_crops():
    """All else is printed by typer.echo, which never does."""
    using = {
        path
        for path in (ROOT / "src").rglob("*.py")
        if "import rich" in (text := path.read_text()) or "from rich" in text
    }
    assert [path.name for path in using] == ["progress.py"]
