"""Stage `pareto`: table and plot of a sweep: what each point forgot and kept, and which points are on the front.

Numbers are changes of the hole PSNR in dB, as `evaluate` measured them on the same images for all points:

    forgetting   unlearned minus original on the forget set; more negative = more forgotten
    retention    the worse of two: unlearned minus original on the retain set, and on never-seen images
    gap          unlearned minus reference on the forget set; 0 = completed as by a model that never saw them

and the closeness to the reference's outputs on the forget set (reference_psnr_db, higher = behaves more like it).

Two fronts, since the aim decides what is better: `forgetting most` compares (forgetting, -retention); with a reference,
`as unseen` compares (|gap|, -retention). points.json (schema version 1): shared (what all
points have in common), landmarks (original, reference), points (a row each, in the order given).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2i_unlearn.evaluation.findings import pair_name, read_findings
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_folder, read_json, write_json
from i2i_unlearn.sweeps.front import on_front
from i2i_unlearn.sweeps.points import NAMED_BY, POINT, POINT_VERSION

SCHEMA_VERSION = 1
POINTS = "points.json"
PAGE = "pareto.html"
SHARED = ("operator", "keep_fraction", "extractor", "num_bootstrap", "seed", "manifest_sha256")
"""Keys of metrics.json in which all points must agree to be comparable."""
_CHANGE, _GAP, _OF_REFERENCE = (
    pair_name(*pair) for pair in (("unlearned", "teacher"), ("unlearned", "reference"), ("reference", "teacher"))
)
_PSNR, _CLOSENESS = "hole_psnr_db", "reference_psnr_db"

Facts = dict[str, float | str]
Score = dict[str, float | None]
"""value, low, high; each None where it was not measured."""


def run(points: Sequence[str | Path], out: str | Path) -> Facts:
    """Write points.json, pareto.html and summary.json under `out`; return the summary.

    Each of `points` is a folder with point.json and evaluation/ as the stage `sweep_point` writes them. No image is
    read or shown.

    Raises:
        UserError: there is no point, a folder is no point, or the points are not comparable.
    """
    from i2i_unlearn.sweeps.page import render  # matplotlib and jinja2

    table = tabulate([Path(point) for point in points])
    rows = table["points"]
    summary: Facts = {
        "num_points": len(rows),
        "num_passed": sum(row["gate"] == "pass" for row in rows),
        "num_diverged": sum(bool(row["diverged"]) for row in rows),
        "forgetting_most": ", ".join(row["name"] for row in rows if row["on_front"]),
        "as_unseen": ", ".join(row["name"] for row in rows if row["on_reference_front"]),
    }
    with atomic_folder(out) as aside:
        write_json(aside / POINTS, table)
        (aside / PAGE).write_text(render(table), encoding="utf-8")
        write_json(aside / "summary.json", summary)
    return summary


def tabulate(points: Sequence[Path]) -> dict[str, Any]:
    """The content of points.json."""
    if not points:
        raise UserError("no point was given; compute some with `i2i-unlearn sweep`")
    read = [_read(folder) for folder in points]
    measured = [(point, metrics) for point, metrics, _ in read if metrics]
    if not measured:
        raise UserError(f"training diverged at every point ({read[0][0]['diverged']}); choose smaller values")
    shared = _shared(measured)
    rows = [_row(point, metrics, verdicts) for point, metrics, verdicts in read]
    varied = _varied([point["settings"] for point, _, _ in read])
    values = [{key: row[key]["value"] for key in ("forgetting", "gap", "retention")} for row in rows]
    lost = [None if one["retention"] is None else -one["retention"] for one in values]
    distances = [None if one["gap"] is None else abs(one["gap"]) for one in values]
    front = on_front([(one["forgetting"], loss) for one, loss in zip(values, lost, strict=True)])
    reference_front = on_front(list(zip(distances, lost, strict=True)))
    for row, (point, _, _), is_on, is_near in zip(rows, read, front, reference_front, strict=True):
        row |= {"on_front": is_on, "on_reference_front": is_near, "name": _name(point, varied)}
    return {
        "schema_version": SCHEMA_VERSION,
        "shared": {**shared, "settings": _common(point["settings"] for point, _, _ in read)},
        "landmarks": _landmarks(measured[0][1]),
        "points": rows,
    }


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """point.json, metrics.json and verdicts.json of a point; the last two are empty where training diverged."""
    point = read_version(folder / POINT, POINT_VERSION, "sweep")
    if point["diverged"]:
        return point, {}, {}
    evaluation = folder / "evaluation"
    return point, read_findings(evaluation / "metrics.json"), read_findings(evaluation / "verdicts.json")


def read_version(path: Path, version: int, verb: str) -> dict[str, Any]:
    """A JSON file of ours that must have this schema version; `verb` is the command that writes it."""
    content = read_json(path)
    found = content.get("schema_version") if isinstance(content, dict) else None
    if found != version:
        raise UserError(f"{path}: schema version {found}, this program reads {version}; run `i2i-unlearn {verb}` again")
    return dict(content)


def _shared(measured: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Any]:
    """What all points have in common; refuses points that were measured differently."""
    found = [_basis(metrics) for _, metrics in measured]
    for (point, _), basis in zip(measured, found, strict=True):
        for key, value in basis.items():
            if value != found[0][key]:
                raise UserError(
                    f"the points {measured[0][0]['name']} and {point['name']} are not comparable: {key} is "
                    f"{_short(found[0][key])} for the first and {_short(value)} for the second; compare points of one "
                    "split, teacher, reference, operator and evaluation"
                )
    return found[0]


def _basis(metrics: Mapping[str, Any]) -> dict[str, Any]:
    models = {f"{name}_sha256": metrics["models"].get(name, "") for name in ("teacher", "reference")}
    counts = {f"num_{name}": chosen["num_scored"] for name, chosen in metrics["sets"].items()}
    return {**{key: metrics[key] for key in SHARED}, **models, **counts}


def _short(value: Any) -> str:
    return (value[:12] or "none") if isinstance(value, str) else str(value)


def _row(point: Mapping[str, Any], metrics: Mapping[str, Any], verdicts: Mapping[str, Any]) -> dict[str, Any]:
    """A point's numbers, all of them None where training diverged."""
    outcomes = {name: verdict["outcome"] for name, verdict in verdicts.get("verdicts", {}).items()}
    return {
        **{key: point[key] for key in ("objective", "dial", "value", "diverged", "settings")},
        "unlearned_sha256": metrics.get("models", {}).get("unlearned", ""),
        **_changes(metrics, _CHANGE),
        "gap": _score(metrics, "differences", _GAP, "forget", _PSNR),
        "closeness": _score(metrics, "scores", "unlearned", "forget", _CLOSENESS),
        "seconds": metrics.get("cost", {}).get("unlearn_s"),
        "policy": verdicts.get("deciding", ""),
        "gate": outcomes.get(verdicts.get("deciding", ""), "diverged"),
        "outcomes": outcomes,
    }


def _landmarks(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Original and reference as points; reference is None if there is none."""
    nothing: Score = {"value": 0.0, "low": None, "high": None}
    reference = _changes(metrics, _OF_REFERENCE)
    distance = reference["forgetting"]["value"]
    return {
        "original": {
            **dict.fromkeys(reference, nothing),
            "gap": {**nothing, "value": None if distance is None else -distance},
            "closeness": _score(metrics, "scores", "teacher", "forget", _CLOSENESS),
        },
        "reference": None if distance is None else {**reference, "gap": nothing},
    }


def _score(metrics: Mapping[str, Any], table: str, who: str, set_name: str, metric: str) -> Score:
    found = metrics.get(table, {}).get(who, {}).get(set_name, {}).get(metric) or {}
    return {key: found.get(key) for key in ("value", "low", "high")}


def _changes(metrics: Mapping[str, Any], pair: str) -> dict[str, Score]:
    """What a model changed against the original; retention is the lower change of retain and unseen, where known."""
    sets = {"forgetting": "forget", "retain": "retain", "unseen": "retain_holdout"}
    changes = {key: _score(metrics, "differences", pair, name, _PSNR) for key, name in sets.items()}
    known = [changes[key] for key in ("retain", "unseen") if changes[key]["value"] is not None]
    return {**changes, "retention": min(known, key=lambda one: one["value"] or 0.0, default=changes["retain"])}


def _common(settings: Any) -> dict[str, Any]:
    """Settings that are the same at every point."""
    first, *others = settings
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


def _varied(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Settings that differ between points, except those that every point is named by."""
    return [key for key in settings[0] if key not in NAMED_BY and len({str(one.get(key)) for one in settings}) > 1]


def _name(point: Mapping[str, Any], varied: Sequence[str]) -> str:
    """`encoder_l2 alpha 0.25`, and what else distinguishes it: `, num_steps 300`."""
    return ", ".join([point["name"], *(f"{key} {point['settings'].get(key)}" for key in varied)])
