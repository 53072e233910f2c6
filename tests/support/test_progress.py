import itertools
import os
import pty
import subprocess
import sys

import pytest

from i2i_unlearn.support import progress as module
from i2i_unlearn.support.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """Each look at the clock is one second later than the last."""
    seconds = itertools.count()
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(seconds)))


@pytest.mark.usefixtures("clock")
def test_a_log_gets_a_line_every_ten_seconds_with_the_remaining_time(capsys):
    # Units 1..25 end at seconds 1..25: at second 10, 10 of 25 are done, 15 are left at 1 s each; at second 20, 5.
    with progress("reading", 25) as advance:
        for _ in range(25):
            advance(1, "loss 0.5")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["reading: 10/25, 15 s left loss 0.5", "reading: 20/25, 5 s left loss 0.5"]
    assert captured.out == ""


@pytest.mark.usefixtures("clock")
def test_units_of_an_earlier_run_do_not_make_this_one_look_faster(capsys):
    # 90 of 110 were done before: ten more take 10 s, so the other ten take 10 s as well.
    with progress("training", 110, done=90) as advance:
        for _ in range(10):
            advance()
    assert capsys.readouterr().err == "training: 100/110, 10 s left\n"


@pytest.mark.usefixtures("clock")
def test_several_units_at_once(capsys):
    with progress("reading", 100) as advance:
        for _ in range(10):
            advance(8)
    assert capsys.readouterr().err == "reading: 80/100, 2 s left\n"


def test_preparations_of_the_first_unit_do_not_count_for_the_others(monkeypatch, capsys):
    # The first of 220 ends after 12 s, each of the others after half a second: at second 22, 21 are done and 199 left.
    ends = itertools.chain([0.0, 12.0], itertools.count(12.5, 0.5))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(ends))
    with progress("unlearn", 220) as advance:
        for _ in range(21):
            advance()
    assert capsys.readouterr().err.splitlines() == ["unlearn: 1/220, time left unknown", "unlearn: 21/220, 100 s left"]


def test_a_terminal_gets_a_bar_that_ends_full():
    program = (
        "from i2i_unlearn.support.progress import progress\n"
        "with progress('reading', 3) as advance:\n"
        "    for _ in range(3): advance(1, 'note')\n"
    )
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=slave, env=environment
    ) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            shown += piece
        output = process.stdout.read()
    os.close(master)
    assert process.returncode == 0
    assert output == b""  # facts go to stdout, progress does not
    assert b"reading" in shown
    assert b"3/3" in shown
    assert b"note" in shown
