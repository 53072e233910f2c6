"""Progress with remaining time: a bar on a terminal, a line every few seconds in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_EVERY_S = 10.0  # rare enough to keep a log readable, frequent enough to show that the step is alive
UNKNOWN = "time left unknown"


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
    last = time.monotonic()
    count = done
    first: tuple[float, int] | None = None

    def advance(units: int = 1, note: str = "") -> None:
        nonlocal count, first, last
        count += units
        now = time.monotonic()
        # Counted from the end of the first unit, which may have waited for preparations that are not repeated.
        begin, before = first = first or (now, count)
        if now - last >= LOG_EVERY_S:
            last = now
            rest = f"{(now - begin) / (count - before) * (total - count):.0f} s left" if count > before else UNKNOWN
            print(f"{description}: {count}/{total}, {rest} {note}".rstrip(), file=sys.stderr, flush=True)

    return advance
