"""Stage `sweep`: every point of a sweep, then its table and plot. It computes only what is missing.

    <out>/points/    a folder for each point, as the stage `sweep_point` writes it; also those of earlier sweeps
    <out>/pareto/    the table and plot of this sweep's points, as the stage `pareto` writes them
    <out>/workers/   the output of the worker processes, if there are several

A tiny model uses little more than one core, so points are computed side by side, each in one thread, with the same bits
as one after the other.
"""

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Self

from i2i_unlearn.config.sections import SweepConfig
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.sweeps import table
from i2i_unlearn.sweeps import worker as sweep_worker
from i2i_unlearn.sweeps.points import point_configs, points_of
from i2i_unlearn.sweeps.table import Facts

Say = Callable[[str], None]


def run(
    images: str,
    splits: str | Path,
    teacher: str | Path,
    reference: str | Path,
    out: str | Path,
    config: SweepConfig,
    settings: Mapping[str, Mapping[str, Any]],
    *,
    say: Say = lambda line: None,
) -> Facts:
    """Compute the missing points and write pareto/ under `out`; return the table's summary.

    The inputs are those of `point.run`. Points that `out` holds already are kept. `settings` are the sections `unlearn`
    and `evaluate` as plain data; each point changes its own keys of them. `say` gets a line for every finished point.

    Raises:
        UserError: a setting or an input is wrong; finished points are kept.
    """
    out = Path(out)
    points = points_of(config)
    for point in points:
        point_configs(point.changes, settings)  # a wrong value shows before the first training
    shared = {"images": images, "splits": str(splits), "teacher": str(teacher), "reference": str(reference)}
    jobs = [{**shared, "folder": str(out / "points"), "point": point.changes, "settings": settings} for point in points]
    num_workers = min(config.num_workers, len(jobs))
    done = _Told(len(jobs), say)
    if num_workers == 1:
        results = [done(sweep_worker.compute(job)) for job in jobs]
    else:
        results = _side_by_side(jobs, num_workers, out / "workers", done)
    summary = table.run([str(result["folder"]) for result in results], out / "pareto")
    computed = sum(result["computed"] == "new" for result in results)
    return {**summary, "computed": computed, "page": str(out / "pareto" / table.PAGE)}


class _Told:
    """Says which point was done when."""

    def __init__(self, total: int, say: Say) -> None:
        self._total, self._say = total, say
        self._count, self._begin = 0, time.monotonic()

    def __call__(self, facts: Facts) -> Facts:
        self._count += 1
        seconds = time.monotonic() - self._begin
        how = f"{facts['outcome']} after {seconds:.1f} s" if facts["computed"] == "new" else "was there already"
        self._say(f"{self._count}/{self._total} {facts['point']}: {how}")
        return facts


def _side_by_side(jobs: Sequence[Mapping[str, Any]], num_workers: int, logs: Path, done: _Told) -> list[Facts]:
    """Results in the order of the jobs. After a failure no further point begins, and it is raised at the end."""
    logs.mkdir(parents=True, exist_ok=True)
    todo = deque(enumerate(jobs))
    results: dict[int, Facts] = {}
    failures: list[UserError] = []
    workers: list[_Worker] = []

    def work(number: int) -> None:
        with _Worker(logs / f"worker-{number}.log") as worker:
            workers.append(worker)
            while todo and not failures:
                try:
                    index, job = todo.popleft()
                except IndexError:  # another took the last one
                    return
                try:
                    results[index] = done(worker.ask(job))
                except UserError as error:
                    failures.append(error)

    with ThreadPoolExecutor(num_workers) as pool:
        try:
            list(pool.map(work, range(1, num_workers + 1)))
        except BaseException:  # Ctrl-C: the pool would wait for all points
            todo.clear()
            for worker in workers:
                worker.stop()
            raise
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(jobs))]


class _Worker:
    """A process of `sweep_worker`."""

    def __init__(self, log: Path) -> None:
        self._path = log

    def __enter__(self) -> Self:
        self._log: IO[str] = self._path.open("w")
        command = [sys.executable, "-m", sweep_worker.__name__]
        pipe = subprocess.PIPE
        # One thread each, unless the caller set another number.
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._log, text=True, env=environment)
        return self

    def ask(self, job: Mapping[str, Any]) -> Facts:
        """Compute a point.

        Raises:
            UserError: the stage's own, or the process ended early.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise TypeError("the worker was started without pipes")
        try:
            stdin.write(json.dumps(job) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise UserError(
                f"a worker ended early at {job['point']}; {self._path} holds its output; run the same command again "
                "to continue"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(answer["error"])
        facts: Facts = answer["facts"]
        return facts

    def stop(self) -> None:
        """End the process, even in the middle of a point; a waiting `ask` raises an error."""
        self._process.terminate()

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.wait()
        self._log.close()
