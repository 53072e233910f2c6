"""Computes the missing cells in the order of their inputs, one at a time or on two workers side by side.

Tiny models use little more than one core, so two single-thread workers serve a benchmark better than one with two
threads. A cell that fails is told at the end; what depends on it is left out, the rest goes on.
"""

import os
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality.cells import Cell, Store
from benchmarks.quality.compute import Job, compute
from benchmarks.quality.sources import Source
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.progress import progress

USUAL_S = {"split": 1.0, "teacher": 90.0, "reference": 90.0, "unlearn": 15.0, "score": 15.0}
"""Guess where no cell of the kind was computed yet."""


@dataclass(frozen=True)
class Failure:
    """A cell that was not computed."""

    label: str
    reason: str


def missing_cells(cells: Iterable[Cell], store: Store) -> list[Cell]:
    """The cells to compute, inputs first, each once."""
    found: dict[str, Cell] = {}

    def visit(cell: Cell) -> None:
        key = store.key(cell)
        if key not in found and not store.is_done(cell):
            for other in cell.inputs.values():
                visit(other)
            found[key] = cell

    for cell in cells:
        visit(cell)
    return list(found.values())


def expected_seconds(cells: Iterable[Cell], store: Store) -> dict[Cell, float]:
    """Of each cell: the median of what cells of its kind, family and data took before, else of its kind."""
    noted: dict[tuple[str, ...], list[float]] = {}
    for kind in USUAL_S:
        for cell in store.finished(kind):
            for group in _groups(kind, cell["label"]):
                noted.setdefault(group, []).append(cell["facts"]["wall_s"])
    expected = {}
    for cell in cells:
        known = [noted[group] for group in _groups(cell.kind, cell.label) if group in noted]
        expected[cell] = statistics.median(known[0]) if known else USUAL_S[cell.kind]
    return expected


def _groups(kind: str, label: str) -> list[tuple[str, ...]]:
    """From narrow to wide. A label begins with data set and family."""
    words = label.removeprefix("scores of ").split()
    return [(kind, *words[:2]), (kind,)]


def execute(cells: Iterable[Cell], store: Store, source: Source, *, workers: int, description: str) -> list[Failure]:
    """Compute what is missing; return what failed."""
    todo = missing_cells(cells, store)
    expected = expected_seconds(todo, store)
    failures: list[Failure] = []
    lost: set[str] = set()
    if not todo:
        return []
    with progress(description, round(sum(expected.values()))) as advance:
        for cell, outcome in _outcomes(todo, store, source, workers, lost):
            if isinstance(outcome, Failure):
                lost.add(store.key(cell))
                failures.append(outcome)
            else:
                store.finish(cell, outcome)
            advance(round(expected[cell]), cell.label)
    return failures


def _outcomes(
    todo: list[Cell], store: Store, source: Source, workers: int, lost: set[str]
) -> Iterator[tuple[Cell, dict[str, Any] | Failure]]:
    """Each cell with what came of it, as they finish. The caller finishes a cell before it asks for the next."""
    waiting = list(todo)
    running: dict[Future[dict[str, Any]], Cell] = {}
    with _pool(workers, store.folder) as pool:
        while waiting or running:
            for cell in [cell for cell in waiting if _is_lost(cell, store, lost)]:
                waiting.remove(cell)
                yield cell, Failure(cell.label, "what it needs failed")
            ready = (cell for cell in waiting if all(store.is_done(other) for other in cell.inputs.values()))
            for cell, _ in zip(list(ready), range(max(workers, 1) - len(running)), strict=False):
                waiting.remove(cell)
                running[pool.submit(_job(cell, store, source))] = cell
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                yield cell, _outcome(cell, future)


def _is_lost(cell: Cell, store: Store, lost: set[str]) -> bool:
    return any(store.key(other) in lost for other in cell.inputs.values())


def _outcome(cell: Cell, future: "Future[dict[str, Any]]") -> dict[str, Any] | Failure:
    try:
        return future.result()
    except UserError as error:
        return Failure(cell.label, str(error))
    except BrokenProcessPool:
        return Failure(cell.label, "its worker was killed (out of memory?)")
    except Exception as error:  # one cell's bug must not cost the others; it is told with its place
        place = traceback.extract_tb(error.__traceback__)[-1]
        cause = getattr(error, "__cause__", None)
        print(f"{cell.label}:\n{cause or traceback.format_exc()}", file=sys.stderr)
        return Failure(cell.label, f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})")


def _job(cell: Cell, store: Store, source: Source) -> Job:
    return Job(
        kind=cell.kind,
        content=cell.content,
        inputs={name: str(store.path(other)) for name, other in cell.inputs.items()},
        out=str(store.path(cell)),
        images=source.images,
        requests=source.requests,
        hmac_key=source.hmac_key,
        cache=str(store.folder),
        family=cell.family,
    )


class _Here:
    """Computes at once, in this process."""

    def submit(self, job: Job) -> "Future[dict[str, Any]]":
        future: Future[dict[str, Any]] = Future()
        try:
            future.set_result(compute(job))
        except Exception as error:  # kept, as a pool keeps it
            future.set_exception(error)
        return future


class _Workers:
    """Processes of one thread each; made again where one was killed."""

    def __init__(self, count: int, logs: Path) -> None:
        self._count = count
        self._logs = logs
        self._pool = self._new()

    def submit(self, job: Job) -> "Future[dict[str, Any]]":
        try:
            return self._pool.submit(compute, job)
        except BrokenProcessPool:
            self._pool = self._new()
            return self._pool.submit(compute, job)

    def shutdown(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _new(self) -> ProcessPoolExecutor:
        import multiprocessing

        self._logs.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._count, context, initializer=_log_to, initargs=(str(self._logs),))


def _log_to(folder: str) -> None:
    """A worker's own progress lines would break the bar: they go to a file."""
    file = open(Path(folder) / f"worker-{os.getpid()}.log", "a", buffering=1)  # noqa: SIM115  as long as the process
    os.dup2(file.fileno(), sys.stderr.fileno())
    os.dup2(file.fileno(), sys.stdout.fileno())
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """A worker whose benchmark was killed would wait for ever."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


@contextmanager
def _pool(workers: int, cache: Path) -> Iterator[_Here | _Workers]:
    if not workers:
        yield _Here()
        return
    with _environment({"OMP_NUM_THREADS": "1"}):
        pool = _Workers(workers, cache / "logs")
        try:
            yield pool
        finally:
            pool.shutdown()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for processes started inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
