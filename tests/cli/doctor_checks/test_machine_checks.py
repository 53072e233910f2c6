"""Packages, disk, DVC's remote and MLflow, as the doctor sees them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from i2i_unlearn.cli.doctor_checks import Line, look
from i2i_unlearn.cli.doctor_checks.disk import room
from i2i_unlearn.cli.doctor_checks.dvc_remote import ask
from i2i_unlearn.cli.doctor_checks.mlflow_server import mlflow_server, version
from i2i_unlearn.cli.doctor_checks.packages import installed, packages, pinned, python, required
from tests.registry.servers import mlflow_server as serve_mlflow
from tests.support.commands import dvc

REQUIREMENTS = ["torch>=2.11", "numpy>=2", 'mlflow>=3.5; extra == "mlflow"', 'kfp<2.17.3,>=2.14; extra == "kfp"']


def states(lines):
    return {line.name: line.state for line in lines}


@pytest.mark.parametrize(("version", "state"), [("3.11.7", "ok"), ("3.13.0rc1", "ok"), ("3.10.14", "fail")])
def test_python(version, state):
    assert python(version, ">=3.11").state == state


def test_a_required_package_that_is_missing_or_old_is_a_failure_and_an_optional_one_a_warning():
    there = {"torch": "2.10.0", "kfp": "2.17.3"}
    lines = list(required(REQUIREMENTS, there.get))
    assert states(lines) == {"packages": "fail", "packages for mlflow": "warn", "packages for kfp": "warn"}
    assert lines[0].found == "torch 2.10.0 (>=2.11 is required); numpy is missing"
    assert "pip install i2i-unlearn" in lines[0].advice
    assert "'i2i-unlearn[mlflow]'" in lines[1].advice


def test_versions_that_fit_are_ok_also_with_a_local_part():
    there = {"torch": "2.13.0+cpu", "numpy": "2.3.0", "mlflow": "3.17.2", "kfp": "2.17.0"}
    assert set(states(required(REQUIREMENTS, there.get)).values()) == {"ok"}


def test_other_versions_than_the_pinned_are_a_warning_and_what_is_not_installed_is_none():
    pins = "# comment\ntorch==2.13.0\nnumpy==2.3.0  # why\nabsent==1\n"
    assert pinned(pins, {"torch": "2.13.0+cpu", "numpy": "2.3.0"}.get).state == "ok"
    line = pinned(pins, {"torch": "2.12.1", "numpy": "2.3.0"}.get)
    assert (line.state, line.found) == ("warn", "torch 2.12.1 (not 2.13.0)")


def test_this_environment_fits():
    assert "fail" not in states(packages()).values()
    assert installed("no-such-package-anywhere") is None


def test_room(tmp_path):
    assert room("disk", tmp_path, 0, 1).state == "ok"
    assert room("disk", tmp_path, 0, 2**60).state == "warn"
    assert room("disk", tmp_path, 2**60, 2**61).state == "fail"


def test_a_remote_that_is_there_missing_or_not_set_up(tmp_path):
    project, remote = tmp_path / "project", tmp_path / "remote"
    project.mkdir()
    assert ask(project, 60).state == "warn"  # no checkout
    dvc(project, "init", "-q", "--no-scm")
    line = ask(project, 60)
    assert (line.state, line.advice) == ("warn", "dvc remote add -d storage URL")
    dvc(project, "remote", "add", "-d", "storage", str(remote))
    assert ask(project, 60).found == "storage (local) holds nothing"
    remote.mkdir()
    assert ask(project, 60).state == "ok"
    (project / ".dvc/config").write_text(
        "[core]\n    remote = storage\n['remote \"storage\"']\n    url = what://is/it\n"
    )
    line = ask(project, 60)
    assert line.state == "fail"
    assert "Traceback" not in line.found


def test_a_remote_that_says_nothing_is_given_up(tmp_path):
    (tmp_path / ".dvc").mkdir()
    line = ask(tmp_path, 0.05)  # starting Python takes longer
    assert (line.state, line.found) == ("fail", "gave no answer in 0.05 s")


@pytest.mark.parametrize(
    ("server", "state"),
    [("3.17.0", "ok"), ("3.18.1", "ok"), ("3.6.0", "warn"), ("3.4.9", "fail"), ("2.22.0", "fail"), ("", "warn")],
)
def test_the_version_of_mlflow_s_server(server, state):
    assert version(server, "3.17.2").state == state


def test_an_mlflow_that_is_a_file_is_not_made_by_looking(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    (line,) = look([mlflow_server(2)])
    assert line.state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_an_mlflow_database_is_read_without_mlflow_and_a_damaged_one_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("mlflow.db")) as database:
        database.executescript("CREATE TABLE model_versions (version INTEGER); INSERT INTO model_versions VALUES (1)")
    (line,) = look([mlflow_server(2)])
    assert (line.state, "with 1 registered versions" in line.found) == ("ok", True)
    for content in (b"no database at all, but text of some length" * 100, b""):
        Path("mlflow.db").write_bytes(content)
        (line,) = look([mlflow_server(2)])
        assert line.state == "fail"


def test_an_mlflow_that_nobody_serves(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:word@127.0.0.1:1")
    (line,) = look([mlflow_server(1)])
    assert line.state == "fail"
    assert "word" not in line.found


@pytest.mark.slow
def test_an_mlflow_server_answers_and_has_the_client_s_version(tmp_path, monkeypatch):
    with serve_mlflow(tmp_path / "server") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        lines = look([mlflow_server(30)])
    assert [(line.name, line.state) for line in lines] == [("mlflow", "ok"), ("mlflow version", "ok")]


def test_a_check_that_breaks_is_a_line_and_the_others_go_on():
    def broken():
        raise RuntimeError("one\ntwo")

    def fine():
        yield Line("fine", "ok", "yes")

    lines = look([broken, fine])
    assert [line.state for line in lines] == ["fail", "ok"]
    assert lines[0].found == "RuntimeError: one two"
    json.dumps([vars(line) for line in lines])
