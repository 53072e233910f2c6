"""Stage `sweep`: every point of a sweep, then its table and plot. It computes only what is missing.

    <out>/points/    a folder for each point, as the stage `sweep_point` writes it; also those of earlier sweeps
    <out>/pareto/    the table and plot of this sweep's points, as the stage `pareto` writes them
    <out>/workers/   the output of the worker processes, if there are several

Points are computed side by side, each in one thread (support/workers.py).
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from i2i_unlearn.config.sections import SweepConfig
from i2i_unlearn.report.words import seconds
from i2i_unlearn.support.workers import side_by_side
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
    jobs = [
        {**shared, "name": str(point), "folder": str(out / "points"), "point": point.changes, "settings": settings}
        for point in points
    ]
    num_workers = min(config.num_workers, len(jobs))
    done = _Told(len(jobs), say)
    if num_workers == 1:
        results = [done(sweep_worker.compute(job)) for job in jobs]
    else:
        results = side_by_side(sweep_worker.__name__, jobs, num_workers, out / "workers", done)
    summary = table.run([str(result["folder"]) for result in results], out / "pareto")
    computed = sum(result["computed"] == "new" for result in results)
    return {**summary, "computed": computed, "page": str(out / "pareto" / table.PAGE)}


class _Told:
    """Says which point is done, how long it took alone, and how long the others will take once one was computed."""

    def __init__(self, total: int, say: Say) -> None:
        self._total, self._say = total, say
        self._count = self._computed = 0
        self._begun = time.monotonic()

    def __call__(self, facts: Facts) -> Facts:
        self._count += 1
        how = "was there already"
        if facts["computed"] == "new":
            self._computed += 1
            each = (time.monotonic() - self._begun) / self._computed  # of the wall clock, several at once
            left = f", about {seconds(each * (self._total - self._count))} left" if self._count < self._total else ""
            how = f"{facts['outcome']} in {facts['seconds']} s{left}"
        self._say(f"{self._count}/{self._total} {facts['point']}: {how}")
        return facts
