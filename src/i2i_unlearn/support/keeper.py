"""Runs a program that ends with the process that wants it, however that one ends.

    python -m i2i_unlearn.support.keeper PROGRAM ARGUMENT ...

The program is in a process group of its own, so Ctrl-C reaches only the process that waits for it. When stdin ends,
which it does even where that process was killed, all of the group is ended: SIGTERM, then SIGKILL.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL."""


@contextlib.contextmanager
def kept(command: Sequence[str], **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """Run `command`; at the end of the block, or of this process, it is ended if it still runs.

    `options` are those of subprocess.Popen. Its exit code is the command's; 128 and the number of a signal.
    """
    keeper = [sys.executable, "-m", __name__, *command]
    process = subprocess.Popen(keeper, stdin=subprocess.PIPE, start_new_session=True, text=True, **options)
    try:
        yield process
    finally:
        release(process)
        process.wait()
        if process.stdout:
            process.stdout.close()


def release(process: "subprocess.Popen[str]") -> None:
    """End the program of `kept` soon, without waiting for it."""
    if process.stdin:
        process.stdin.close()


def main(command: Sequence[str]) -> int:
    """Exit code: the program's."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    stdin_ended = threading.Event()
    ending = threading.Thread(target=_end_with_stdin, args=(program.pid, stdin_ended), daemon=True)
    ending.start()
    code = program.wait()
    if stdin_ended.is_set():  # others of the group may still be there
        ending.join()
    return 128 - code if code < 0 else code


def _end_with_stdin(group: int, stdin_ended: threading.Event) -> None:
    os.read(0, 1)  # nothing is ever written: it returns at the end
    stdin_ended.set()
    with contextlib.suppress(ProcessLookupError):  # none of the group is left
        os.killpg(group, signal.SIGTERM)
        end = time.monotonic() + GRACE_S
        while time.monotonic() < end:
            time.sleep(0.05)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
