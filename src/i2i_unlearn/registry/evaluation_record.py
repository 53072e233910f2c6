"""An evaluation as MLflow shows it: numbers by name, tables of rows, plots.

The only images are those on the report's picture sheet, which shows forget images only if the settings of the
evaluation allow it. Sample ids appear nowhere.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def score_metrics(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """`unlearned/forget/hole_psnr_db` and its interval's `_low`, `_high`; pairs as `unlearned-teacher/forget/...`."""
    for who, set_name, metric, score in _scores(metrics):
        yield from _with_bounds(f"{who.replace('/', '_per_')}/{set_name}/{metric}", score)
    yield from ((f"cost/{key}", value) for key, value in metrics["cost"].items() if is_number(value))


def audit_metrics(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """`audits/membership/unlearned/auc_loss` and so on, of audits with status measured.

    Blind or undecided audits give none: a bare number would look like a result. The table has them all.
    """
    for audit, found in metrics["audits"].items():
        if found["status"] == "measured":
            for who, measure, score in _audited(found):
                yield from _with_bounds(f"audits/{audit}/{who}/{measure}", score)


def audit_tags(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Status of each audit."""
    return {f"audit.{audit}": found["status"] for audit, found in metrics["audits"].items()}


def tables(metrics: Mapping[str, Any], verdicts: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Rows of the tables scores, audits and checks; a table without rows is left out."""
    found = {"scores": _score_rows(metrics), "audits": _audit_rows(metrics), "checks": _check_rows(verdicts)}
    return {name: rows for name, rows in found.items() if rows}


def plots(metrics: Mapping[str, Any], steps: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Each plot of the report that can be drawn from numbers alone, as SVG; the others are only in the report."""
    from i2i_unlearn.report.audit_plots import relearning_plot, roc_plot, time_loss_plot
    from i2i_unlearn.report.plots import loss_plot, score_plot, standalone_svg

    drawn = {
        "loss": loss_plot(steps),
        "scores": score_plot(metrics),
        "membership_roc": roc_plot(metrics),
        "relearning": relearning_plot(metrics),
        "loss_by_time": time_loss_plot(metrics),
    }
    return {name: standalone_svg(svg) for name, svg in drawn.items() if svg is not None}


def is_number(value: Any) -> bool:
    """Whether MLflow accepts it as a metric."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def _with_bounds(name: str, score: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    bounds = ((name, "value"), (f"{name}_low", "low"), (f"{name}_high", "high"))
    return ((key, score[bound]) for key, bound in bounds if is_number(score.get(bound)))


def _scores(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Model or pair, set, metric, measurement."""
    for table in ("scores", "differences", "ratios"):
        for who, sets in metrics[table].items():
            for set_name, scores in sets.items():
                yield from ((who, set_name, metric, score) for metric, score in scores.items())


def _audited(found: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Model or pair, measure, measurement."""
    for table in ("models", "differences"):
        for who, measures in found[table].items():
            yield from ((who, measure, score) for measure, score in measures.items())


def _numbers(score: Mapping[str, Any]) -> dict[str, Any]:
    return {key: score.get(key) for key in ("value", "low", "high", "num_images")}


def _score_rows(metrics: Mapping[str, Any]) -> list[Row]:
    return [
        {"model": who, "set": set_name, "metric": metric, **_numbers(score)}
        for who, set_name, metric, score in _scores(metrics)
    ]


def _audit_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """One row per measure, or one that says why there is none."""
    rows: list[Row] = []
    for audit, found in metrics["audits"].items():
        about = {"audit": audit, "status": found["status"], "why": found["why"]}
        nothing: list[tuple[str, str, Mapping[str, Any]]] = [("", "", {})]
        for who, measure, score in list(_audited(found)) or nothing:
            rows.append({**about, "model": who, "measure": measure, **_numbers(score)})
    return rows


def _check_rows(verdicts: Mapping[str, Any]) -> list[Row]:
    keys = ("name", "measure", "value", "low", "high", "bound", "outcome", "why")
    return [
        {"policy": name, "decides": name == verdicts["deciding"], **{key: line[key] for key in keys}}
        for name, verdict in verdicts["verdicts"].items()
        for line in verdict["lines"]
    ]
