"""Stage `record_sweep`: a sweep in MLflow, as a run with a nested run for each point.

What counts as the same (recording it again changes nothing):

    sweep   same split, teacher, reference, operator, evaluation and settings, except those that a point is named by
    point   same sweep, weights and settings, computed by the command or the pipeline

A sweep that is widened gets further nested runs; its page, table and tags of the front become those of the wider one.
If Kubeflow's MLflow plugin opened a run (MLFLOW_RUN_ID), the points are nested in it.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from i2i_unlearn.evaluation.evaluated_model import digest, read_summary
from i2i_unlearn.registry import tracking
from i2i_unlearn.support.progress import progress
from i2i_unlearn.sweeps.points import NAMED_BY
from i2i_unlearn.sweeps.table import PAGE, POINTS, SCHEMA_VERSION, Facts, read_version

_SCORES = ("forgetting", "retention", "retain", "unseen", "gap", "closeness")


def run(pareto: str | Path, experiment: str) -> Facts:
    """Log the folder that the stage `pareto` wrote; return run_id, experiment and recorded (new | already).

    Raises:
        UserError: the folder holds no table, or MLflow cannot be reached.
    """
    folder = Path(pareto)
    table = read_version(folder / POINTS, SCHEMA_VERSION, "pareto")
    summary = read_summary(folder, "sweep")
    shared = dict(table["shared"])
    settings = {key: value for key, value in shared.pop("settings").items() if key not in NAMED_BY}
    about = {**shared, **{f"unlearn.{key}": value for key, value in settings.items()}}
    run_key = digest({"kind": "sweep", **{key: str(value) for key, value in about.items()}})
    new = False
    with tracking.connect() as server:
        parent = server.find_record(experiment, run_key)
        parent = parent or server.new_record(experiment, run_key, "sweep")
        with parent.writing(run_key), progress("recording", len(table["points"])) as advance:
            parent.log_params(about)
            for point in table["points"]:
                new |= _log_point(server, parent, point)
                advance(note=point["name"])
            parent.log_file(folder / PAGE)
            parent.log_file(folder / POINTS)
            parent.tag({"kind": "sweep", **{key: str(value)[: tracking.MOST_TAG] for key, value in summary.items()}})
    return {"run_id": parent.run_id, "experiment": experiment, "recorded": "new" if new else "already"}


def _log_point(server: tracking.Server, parent: tracking.Record, point: Mapping[str, Any]) -> bool:
    """Log a point unless it is logged already; True if it was new. Its place on the front is tagged again."""
    settings = {name: str(value) for name, value in point["settings"].items()}
    key = digest({"unlearned": point["unlearned_sha256"], **settings})
    record = server.child_record(parent, key, point["name"])
    new = not record.is_complete
    if new:
        with record.writing(key):
            record.log_params({f"unlearn.{name}": value for name, value in point["settings"].items()})
            record.log_metrics(dict(_numbers(point)))
    fronts = {"forgetting most": point["on_front"], "as unseen": point["on_reference_front"]}
    record.tag(
        {
            "kind": "sweep point",
            "gate": point["gate"],
            "gate_policy": point["policy"],
            "front": ", ".join(name for name, is_on in fronts.items() if is_on),
            "diverged": point["diverged"],
        }
    )
    return new


def _numbers(point: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """`forgetting_db` and its interval's `forgetting_db_low`, `_high`, and the seconds."""
    for name in _SCORES:
        for part, ending in (("value", ""), ("low", "_low"), ("high", "_high")):
            value = point[name][part]
            if value is not None and math.isfinite(value):
                yield f"{name}_db{ending}", value
    if point["seconds"] is not None:
        yield "seconds", point["seconds"]
