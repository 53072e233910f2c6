"""The page of a sweep: plot and table of its points, in one HTML file without network access or photographs."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from i2i_unlearn.report import words
from i2i_unlearn.report.page import asset, environment
from i2i_unlearn.sweeps.plot import pareto_plot

_COLUMNS = {
    "forgetting": ("Forget set", "change of the hole PSNR on the images to be forgotten; lower = more forgotten"),
    "retain": ("Retain set", "change on the training images that are kept; 0 = as before"),
    "unseen": ("Unseen", "change on images never trained on; 0 = as before"),
    "gap": ("Gap to reference", "forget set, unlearned minus retrained; 0 = as if the images had never been seen"),
    "closeness": ("Like reference", "PSNR between unlearned and retrained outputs on the forget set; higher = alike"),
}
_OF_REFERENCE = ("gap", "closeness")
_OUTCOMES = {**words.OUTCOMES, "diverged": "Diverged"}
_SIGNS = {**words.OUTCOME_SIGNS, "diverged": "!"}


def render(table: Mapping[str, Any]) -> str:
    """The page as text, from the content of points.json. Equal content gives equal bytes."""
    return (
        environment()
        .get_template("pareto.html.j2")
        .render(
            style=Markup(asset("page.css")),
            # The page can neither send a request nor run a script.
            security="default-src 'none'; style-src 'unsafe-inline'",
            plot=Markup(pareto_plot(table)),  # made by matplotlib, which escapes the labels
            **_view(table),
        )
    )


def _view(table: Mapping[str, Any]) -> dict[str, Any]:
    has_reference = table["landmarks"]["reference"] is not None
    columns = [name for name in _COLUMNS if has_reference or name not in _OF_REFERENCE]
    rows = [_row(row, columns) for row in table["points"]]
    landmarks = [
        _landmark("Original" if name == "original" else words.MODELS[name], landmark, columns)
        for name, landmark in table["landmarks"].items()
        if landmark is not None
    ]
    policy = next(row["policy"] for row in table["points"] if row["policy"])
    passed = sum(row["gate"] == "pass" for row in rows)
    return {
        "headline": _headline(rows, passed),
        "policy": policy,
        "operator": words.operator_sentence(table["shared"]["operator"], table["shared"]["keep_fraction"]),
        "columns": [_COLUMNS[name] for name in columns],
        "rows": rows,
        "landmarks": landmarks,
        "has_reference": has_reference,
        "has_unseen": any(row["unseen"]["value"] is not None for row in table["points"]),
        "front": words.listed([row["name"] for row in rows if row["on_front"]]),
        "reference_front": words.listed([row["name"] for row in rows if row["on_reference_front"]]),
        "diverged": [row for row in rows if row["gate"] == "diverged"],
        "counts": _counts(table["shared"]),
        "lineage": _lineage(table["shared"]),
        "signs": _SIGNS,
        "outcomes": _OUTCOMES,
    }


def _headline(rows: Sequence[Mapping[str, Any]], passed: int) -> str:
    points = "One point" if len(rows) == 1 else f"{len(rows)} points"
    front = sum(row["on_front"] for row in rows)
    are = "is" if front == 1 else "are"
    return f"{points}, {passed} passed; {front} {are} on the front of forgetting against retention."


def _row(row: Mapping[str, Any], columns: list[str]) -> dict[str, Any]:
    """A row of the table, as text: `cells` are value and interval of each column, `others` the other policies."""
    others = [
        f"{name} {words.OUTCOMES[outcome].lower()}"
        for name, outcome in row["outcomes"].items()
        if name != row["policy"]
    ]
    seconds = words.seconds(row["seconds"])
    return {**row, "cells": _cells(row, columns), "others": ", ".join(others), "seconds": seconds}


def _landmark(title: str, landmark: Mapping[str, Any], columns: list[str]) -> dict[str, Any]:
    known = {**{name: {} for name in columns}, **landmark}
    no_point = dict.fromkeys(("gate", "others", "on_front", "on_reference_front"), "")
    return {**no_point, "name": title, "cells": _cells(known, columns), "seconds": words.MISSING}


def _cells(row: Mapping[str, Any], columns: list[str]) -> list[tuple[str, str]]:
    """A closeness is a level, the others are changes and carry their sign."""
    signed = {name: name != "closeness" for name in columns}
    return [
        (
            words.number(row[name].get("value"), 2, signed=signed[name]),
            words.interval(row[name], 2, signed=signed[name]),
        )
        for name in columns
    ]


def _counts(shared: Mapping[str, Any]) -> str:
    names = {"forget": "forget", "retain": "retain", "retain_holdout": "unseen"}
    found = [f"{shared[f'num_{name}']} {title}" for name, title in names.items() if shared.get(f"num_{name}")]
    return words.listed(found)


def _lineage(shared: Mapping[str, Any]) -> dict[str, str]:
    """Label -> value: what all points have in common."""
    settings = {f"unlearn.{key}": words.plain_number(value) for key, value in shared["settings"].items()}
    digests = {
        "teacher model, sha256": shared["teacher_sha256"],
        "reference model, sha256": shared["reference_sha256"] or "none",
        "split manifest, sha256": shared["manifest_sha256"],
        "extractor": shared["extractor"],
        "seed of the evaluation": str(shared["seed"]),
    }
    return {**digests, **settings}
