"""The steps of a local run in processes: none outlives the run, whatever ends it."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

from i2i_unlearn.support.keeper import kept, release

KILLED = 137
"""Exit code of a step that was ended by force."""


@contextlib.contextmanager
def process_runner() -> Iterator[Any]:
    """kfp.local's SubprocessRunner; no step outlives it."""
    from kfp import local
    from kfp.local import subprocess_task_handler as handler

    steps = Steps()
    before = handler.run_local_subprocess
    handler.run_local_subprocess = steps.run
    try:
        with stopped_by_signals(steps.stop):
            yield local.SubprocessRunner(use_venv=False)
    finally:
        handler.run_local_subprocess = before


class Steps:
    """The steps that run now. After `stop` none begins: kfp still hands in every item that waits in a loop's queue."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._running: list[subprocess.Popen[str]] = []

    def run(self, full_command: Sequence[str], env_vars: Mapping[str, str] | None = None) -> int:
        """Run a step to its end and print what it prints; return its exit code.

        Replaces kfp.local 2.17's own, whose step goes on when the run is stopped.
        """
        if self._stopped.is_set():
            return KILLED
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "errors": "replace"}
        with kept(full_command, env={**os.environ, **(env_vars or {})}, **output) as process:
            self._running.append(process)
            if self._stopped.is_set():  # since it was looked at above
                return KILLED
            for line in process.stdout or ():
                print(line, end="")
            code = process.wait()
            self._running.remove(process)
            return code

    def stop(self) -> None:
        """End them."""
        self._stopped.set()
        for process in list(self._running):
            release(process)


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """On Ctrl-C and SIGTERM call `stop` at once, since kfp waits for a loop's steps; then raise KeyboardInterrupt."""

    def stopping(number: int, frame: FrameType | None) -> None:
        stop()
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stopping) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
