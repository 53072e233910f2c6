"""What of a run's output reaches the terminal, and what is made of a step that stopped."""

import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from i2i_unlearn.pipeline.local.run_log import RunLog
from i2i_unlearn.support.errors import GateRefused, UserError

START = "06:13:57.001 - INFO - Executing task \x1b[96m'unlearn'\x1b[0m\n"
STOP = "06:14:07.001 - ERROR - Task \x1b[96m'unlearn'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m\n"


def written(*texts: str) -> RunLog:
    log = RunLog(io.StringIO(), io.StringIO())
    for text in texts:
        log.write(text)
    return log


def shown(log: RunLog) -> list[str]:
    assert isinstance(log.terminal, io.StringIO)
    return log.terminal.getvalue().splitlines()


def test_everything_is_logged_and_only_steps_and_progress_are_shown():
    texts = ["    ", "Loading weights\n", "    unlearn: 20/150, 31 s left loss 0.5\n", "no line end"]
    log = written(*START, *texts)  # letter by letter: a line may come in pieces
    assert log.file.getvalue() == START + "".join(texts)
    assert shown(log) == ["unlearn: started", "unlearn: 20/150, 31 s left loss 0.5"]


def test_what_a_step_says_of_tasks_starts_none():
    assert shown(written("    06:13:57.001 - INFO - Executing task 'other'\n")) == []


@pytest.mark.parametrize(
    ("name", "kind"), [("UserError", UserError), ("Diverged", UserError), ("GateRefused", GateRefused)]
)
def test_the_last_refusal_of_the_first_step_that_stopped_is_the_reason(name, kind):
    refusal = "    i2i_unlearn.support.errors.{}: {}\n"
    first = refusal.format("UserError", "met on the way") + refusal.format(name, "the end")
    log = written(START, first, STOP, START, refusal.format("UserError", "a later step"), STOP)
    reason = log.reason(Path("log.txt"))
    assert type(reason) is kind
    assert str(reason) == "the end"
    assert not [line for line in shown(log) if "Traceback" in line]


def test_a_refusal_of_a_step_that_went_well_is_not_the_reason():
    refusal = "    i2i_unlearn.support.errors.UserError: handled\n"
    log = written(START, refusal, STOP.replace("FAILURE", "SUCCESS"), START, STOP)
    assert "'unlearn' crashed; its whole output is in log.txt" in str(log.reason(Path("log.txt")))


def test_a_fault_of_ours_shows_its_traceback_as_python_wrote_it():
    traceback = ["Traceback (most recent call last):", '  File "a.py", line 1, in f', "ValueError: bad"]
    log = written(START, *(f"    {line}\n" for line in ["before", *traceback]), "    \n\n", STOP)
    log.reason(Path("log.txt"))
    assert shown(log)[2:] == traceback


def test_of_steps_that_run_side_by_side_the_one_that_stopped_is_told_with_what_it_said():
    refusal = "    i2i_unlearn.support.errors.UserError: the end\n"
    log = written(START, START, refusal, START.replace("unlearn", "other"), STOP, STOP.replace("FAILURE", "SUCCESS"))
    assert str(log.reason(Path("log.txt"))) == "the end"
    seconds = [re.sub(r"\d+\.\d s", "N s", line) for line in shown(log)]
    started = ["unlearn: started", "unlearn: started", "other: started"]
    assert seconds == [*started, "unlearn: stopped after N s", "unlearn: done in N s"]


def test_lines_of_several_threads_are_kept_apart():
    log = written()
    lines = [f"{name}\n" for name in "abcdefgh" for _ in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(log.write, lines))
    assert isinstance(log.file, io.StringIO)
    assert sorted(log.file.getvalue().splitlines(keepends=True)) == sorted(lines)


def test_a_step_that_was_killed_says_at_least_where_its_log_is():
    log = written(START, "    Killed\n", STOP)
    assert "runs/log.txt" in str(log.reason(Path("runs/log.txt")))
    assert len(shown(log)) == 2
