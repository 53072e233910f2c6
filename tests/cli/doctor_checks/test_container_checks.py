import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from i2i_unlearn.cli.doctor_checks import Line
from i2i_unlearn.cli.doctor_checks.container import (
    NEEDED,
    imports,
    nothing_of_a_build,
    root_file_system,
    user,
    writable,
)

COMMAND = Path(sys.executable).with_name("i2i-unlearn")


def test_root_is_a_failure_and_any_other_number_is_not():
    assert user(0, 0).state == "fail"
    assert user(10001, 0) == Line("user", "ok", "10001:0")


def test_a_file_system_that_can_be_written_to_is_a_warning(tmp_path):
    assert root_file_system(tmp_path).state == "warn"


def test_a_folder_that_is_not_there_yet_counts_as_the_one_it_would_be_made_in(tmp_path):
    assert writable("cache folder", tmp_path / "a/b", "XDG_CACHE_HOME").state == "ok"
    assert not (tmp_path / "a").exists()
    assert writable("temporary folder", tmp_path / "a/b", "TMPDIR", made=False).state == "fail"


def test_a_folder_that_cannot_be_written_to_is_a_failure_that_names_what_decides_it():
    line = writable("home", Path("/proc/nothing/here"), "HOME")
    assert line.state == "fail"
    assert "HOME" in line.advice


def test_a_compiler_and_a_cache_of_pip_are_failures(tmp_path, monkeypatch):
    (tmp_path / "cache/pip").mkdir(parents=True)
    (tmp_path / "gcc").write_text("#!/bin/sh\n")
    (tmp_path / "gcc").chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    line = nothing_of_a_build(str(tmp_path), ("${XDG_CACHE_HOME}/pip",))
    assert line.state == "fail"
    assert line.found == f"{tmp_path}/gcc, {tmp_path}/cache/pip"
    assert nothing_of_a_build(str(tmp_path / "none"), ("${XDG_CACHE_HOME}/none",)).state == "ok"


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(NEEDED, "steps", ("no_such_module", "json"))
    line = next(line for line in imports() if line.name == "for steps")
    assert (line.state, line.found) == ("fail", "no_such_module: No module named 'no_such_module'")


@pytest.mark.skipif(os.getuid() != 0, reason="this user is not root")
def test_the_command_ends_with_1_where_something_fails():
    ended = subprocess.run([COMMAND, "doctor", "--in-container", "--json"], capture_output=True, text=True, check=False)
    lines = {line["name"]: line for line in json.loads(ended.stdout)}
    assert (lines["user"]["state"], ended.returncode, ended.stderr) == ("fail", 1, "")
    assert {name for name, line in lines.items() if name.startswith("for ") and line["state"] == "fail"} == set()


def test_a_container_and_a_cluster_are_not_looked_at_together():
    words = [COMMAND, "doctor", "--in-container", "--cluster"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "--in-container" in ended.stderr
    assert "--cluster" in ended.stderr
