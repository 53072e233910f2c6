"""What is run, in which order and with which record; tests/cli/test_demo.py runs the real stages."""

import os
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.requests.run import Command, bring_up_to_date, run_all
from i2i_unlearn.support.errors import UserError
from tests.support.commands import dvc
from tests.support.says import says

STAGES = {
    "stages": {
        "shout": {"cmd": "grep . given | tr a-z A-Z > loud; test -s loud", "deps": ["given"], "outs": ["loud"]},
        "count": {"cmd": "wc -c < loud > counted", "deps": ["loud"], "outs": ["counted"]},
    }
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two stages that are no commands of this package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / ".site"))
    monkeypatch.setenv("PATH", os.environ["PATH"])  # what the runner adds is taken back
    dvc(tmp_path, "init", "--no-scm", "-q")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(STAGES))
    (tmp_path / "given").write_text("abc")
    return tmp_path


def test_only_what_is_out_of_date_runs_and_dvc_then_agrees(project):
    assert bring_up_to_date() == ["shout", "count"]
    assert (project / "counted").read_text().strip() == "4"
    assert bring_up_to_date() == []
    assert "up to date" in dvc(project, "status")
    (project / "given").write_text(
        "xyz"
    )  # of the same length: what follows from it changes, what follows from that not
    assert bring_up_to_date() == ["shout", "count"]
    assert (project / "loud").read_text() == "XYZ\n"


def test_what_dvc_repro_ran_does_not_run_again(project):
    dvc(project, "repro", "-q")
    assert bring_up_to_date() == []


def test_a_stage_that_fails_is_told_in_one_line_and_tried_again(project):
    (project / "given").write_text("")
    with says(UserError, "DVC:", "test -s loud", "run the same command again"):
        bring_up_to_date()
    (project / "given").write_text("abc")
    assert bring_up_to_date() == ["shout", "count"]


def test_without_a_project_the_command_that_makes_one_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with says(UserError, "no DVC project", "i2i-unlearn init"):
        bring_up_to_date()


def test_a_file_that_another_dvc_process_writes_is_left_to_it(project):
    lock = f'{{"write": {{"{project}/given": {{"pid": {os.getppid()}, "cmd": "dvc add given"}}}}, "read": {{}}}}'
    Path(".dvc/tmp/rwlock").write_text(lock)
    with says(UserError, "is busy", "dvc add given"):
        bring_up_to_date()


def test_commands_wait_for_those_they_need_and_only_for_those():
    asked = []

    def command(name, *after):
        return Command(name, lambda: (), frozenset(after), lambda: asked.append(name))

    run_all([command("last", "middle", "no command"), command("middle", "first"), command("first")])
    assert asked == ["first", "middle", "last"]


def test_a_commands_own_error_is_raised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with says(UserError, "params.yaml", "no such file"):
        run_all([Command("one", lambda: ["split"]), Command("two", lambda: ["pretrain"], frozenset({"one"}))])
