"""Ctrl-C, wherever it comes: one line, exit code 130, no traceback."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from i2i_unlearn.cli.start import start
event, contains = sys.argv[1:]
def hook(name, arguments):
    if name == event and contains in str(arguments[0]) and not sent:
        sent.append(name)
        os.kill(os.getpid(), signal.SIGINT)
sent = []
sys.addaudithook(hook)
sys.argv = ["i2i-unlearn", "--version"]
start()
"""


@pytest.mark.parametrize(
    ("event", "contains"),
    [("import", "i2i_unlearn.cli.main"), ("import", "typer"), ("exec", 'file "<string>"'), ("import", "nothing")],
)
def test_ctrl_c_is_one_line_from_the_first_moment(event, contains):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, event, contains], capture_output=True, text=True, check=False
    )
    if contains == "nothing":
        assert (ended.returncode, ended.stderr) == (0, "")
    else:
        line = "i2i-unlearn: stopped: run the same command again to continue\n"
        assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", line)
