"""The output of a local run: everything goes to a file, one line per step to the terminal. Imports no kfp.

kfp.local has no hooks: it prints what the steps print, each line indented, and between them log lines of its own.
"""

import re
import threading
import time
from collections import deque
from pathlib import Path
from typing import TextIO

from i2i_unlearn.support.errors import GateRefused, UserError
from i2i_unlearn.support.progress import UNKNOWN

_COLOUR = re.compile(r"\x1b\[\d+m")
_STARTED = re.compile(r"[\d:.]+ - INFO - Executing task '([^']+)'")
_ENDED = re.compile(r"[\d:.]+ - [A-Z]+ - Task '([^']+)' finished with status ([A-Z]+)")
_PROGRESS = re.compile(rf"\s*(\S.*: \d+/\d+, (?:\d+ s left|{UNKNOWN}).*)")
_REFUSAL = re.compile(r"\s*i2i_unlearn\.support\.errors\.(UserError|Diverged|GateRefused): (.+)")
_TRACEBACK = "Traceback (most recent call last):"
_KEPT_LINES = 1000  # of one step, to find its last traceback in


class RunLog:
    """Replaces stdout while kfp.local runs; remembers the last lines of the first step that stopped."""

    def __init__(self, file: TextIO, terminal: TextIO) -> None:
        self.file = file
        self.terminal = terminal
        self._unfinished = ""
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._running: list[tuple[str, float]] = []  # in a loop, several at once and of one name
        self._lock = threading.Lock()  # the steps of a loop write from threads of their own
        self._stopped: tuple[str, list[str]] | None = None

    def write(self, text: str) -> int:
        """Log `text`; of the lines that it completes, show those that are meant for the terminal."""
        with self._lock:
            self.file.write(text)
            *lines, self._unfinished = (self._unfinished + text).split("\n")
            for line in lines:
                self._read(_COLOUR.sub("", line))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered to the log."""
        self.file.flush()

    def say(self, line: str) -> None:
        """Show `line` on the terminal."""
        # Not by print(): while a step runs, kfp.local replaces it by one that writes to stdout, which is this object.
        self.terminal.write(f"{line}\n")
        self.terminal.flush()

    def reason(self, log: Path) -> Exception:
        """Why the run stopped, as the step said it; `log` is named where the step said nothing that a person can use.

        What is neither a UserError nor a GateRefused is a fault of ours: its traceback goes to the terminal.
        """
        step, lines = self._stopped or ("of no name", [])
        found = [match for match in map(_REFUSAL.fullmatch, lines) if match]
        if found:
            kind, message = found[-1].groups()
            return GateRefused(message.strip()) if kind == "GateRefused" else UserError(message.strip())
        for line in _last_traceback(lines):
            self.say(line)
        return UserError(f"the step '{step}' crashed; its whole output is in {log}")

    def _read(self, line: str) -> None:
        self._lines.append(line)
        if started := _STARTED.match(line):
            if not self._running:  # else another step's lines are among them
                self._lines.clear()
            self._running.append((started[1], time.monotonic()))
            self.say(f"{started[1]}: started")
        elif ended := _ENDED.match(line):
            self._end(ended[1], succeeded=ended[2] == "SUCCESS")
        elif progress := _PROGRESS.fullmatch(line):
            self.say(progress[1])

    def _end(self, step: str, *, succeeded: bool) -> None:
        begins = [begin for name, begin in self._running if name == step] or [time.monotonic()]
        self._running = [one for one in self._running if one != (step, begins[0])]  # of several, the first to begin
        seconds = time.monotonic() - begins[0]
        self.say(f"{step}: {'done in' if succeeded else 'stopped after'} {seconds:.1f} s")
        if not succeeded and self._stopped is None:
            self._stopped = step, list(self._lines)


def _last_traceback(lines: list[str]) -> list[str]:
    """The last traceback of `lines`, without the indentation that kfp.local gives every line of a step."""
    starts = [number for number, line in enumerate(lines) if line.strip() == _TRACEBACK]
    if not starts:
        return []
    indent = len(lines[starts[-1]]) - len(_TRACEBACK)
    told = [line[indent:].rstrip() for line in lines[starts[-1] : -1]]  # the last line is kfp's own
    return [line for line in told if line]
