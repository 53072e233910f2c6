import os
import sqlite3
from pathlib import Path

import pytest

from i2i_unlearn.requests.remembered import FILE, recall, remember

FACTS = {"version": {"version": "2"}, "refused": []}
FILES = [Path("params.yaml"), Path("dvc.lock"), Path("promotions.jsonl")]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A registry and two of the three files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with sqlite3.connect("mlflow.db") as database:
        database.execute("CREATE TABLE aliases (name TEXT)")
    for path in FILES[:2]:
        path.write_text("one")


def move_an_alias():
    with sqlite3.connect("mlflow.db") as database:
        database.execute("INSERT INTO aliases VALUES ('champion')")


def test_what_was_remembered_is_recalled():
    assert recall(FILES) is None
    remember(FACTS, FILES)
    assert recall(FILES) == FACTS


CHANGES = {
    "a setting": lambda: FILES[0].write_text("two"),
    "an output, which dvc.lock names": lambda: FILES[1].write_text("two"),
    "a ledger that was not there": lambda: FILES[2].write_text("promoted"),
    "the registry": move_an_alias,
    "another registry of the same size": lambda: (
        Path("copy").write_bytes(Path("mlflow.db").read_bytes()),
        os.replace("copy", "mlflow.db"),
    ),
    "no registry": lambda: Path("mlflow.db").unlink(),
    "another address": lambda: os.environ.__setitem__("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000"),
    "what was remembered is damaged": lambda: FILE.write_text("[1, 2"),
    "what was remembered is something else": lambda: FILE.write_text("[1]"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_nothing_is_recalled(change, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # what the change sets is undone
    remember(FACTS, FILES)
    CHANGES[change]()
    assert recall(FILES) is None


def test_a_server_is_asked_every_time(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    remember(FACTS, FILES)
    assert not FILE.exists()
    assert recall(FILES) is None
