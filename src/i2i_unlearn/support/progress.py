"""Progress with remaining time: a bar on a terminal, a line every few seconds in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_EVERY_S = 10.0  # rare enough to keep a log readable, frequent enough to show that the step is alive


class Advance(Protocol):
    """Tell the bar how many units were done since the last call, and what to show next to it."""

    def __call__(self, units: int = 1, note: str = "") -> None:
        """`units` more are done."""


@contextmanager
def progress(description: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Yield `advance(units, note)`; `done` units were finished by an earlier, interrupted run. Writes to stderr."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(description, total, done, console) as advance:
            yield advance
    else:
        yield _log_lines(description, total, done)


@contextmanager
def _bar(description: str, total: int, done: int, console: Console) -> Iterator[Advance]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console) as bar:
        task = bar.add_task(description, total=total, completed=done, note="")

        def advance(units: int = 1, note: str = "") -> None:
            bar.update(task, advance=units, note=note)

        yield advance


def _log_lines(description: str, total: int, done: int) -> Advance:
    begin = last = time.monotonic()
    count = done

    def advance(units: int = 1, note: str = "") -> None:
        nonlocal count, last
        count += units
        now = time.monotonic()
        if now - last >= LOG_EVERY_S:
            last = now
            remaining = (now - begin) / max(count - done, 1) * (total - count)
            print(
                f"{description}: {count}/{total}, {remaining:.0f} s left {note}".rstrip(), file=sys.stderr, flush=True
            )

    return advance
