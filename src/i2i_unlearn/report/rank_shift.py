"""The audit rank_shift as a compact table and in lay words: what a model's ranks and shifts of them mean."""

from collections.abc import Mapping
from typing import Any

from i2i_unlearn.report.scores import CellView, cell
from i2i_unlearn.report.tables import PlainTable
from i2i_unlearn.report.words import MODELS, in_order, interval, model_title, number

NAME = "rank_shift"
ROWS = {
    "error": "Error",
    "contrast": "Contrast",
    "roughness": "Roughness",
    "edge": "Edge",
    "retain_error": "Error, kept images",
}
"""The numbers shown, by the beginning of their measures' names."""
WHY = "The policy applies its rule to the two controls below as well; it decides nothing where one of them misbehaves."
_EARLIER = ("error", "contrast", "roughness", "edge")
_DIGITS = 3


def finding(audit: Mapping[str, Any]) -> str:
    """What it says of the unlearned model, in one sentence for readers who are no experts."""
    found = audit["models"].get("unlearned", {})
    rank, shift = found.get("error_rank"), found.get("error_shift")
    if rank is None or shift is None:
        return "Nothing was found out, so nothing is claimed."
    return (
        f"On average, {100 * rank['value']:.0f} of 100 never-seen images are completed better than an image that was "
        f"to be forgotten, where 50 is as if never seen; by the original model it was "
        f"{100 * (rank['value'] - shift['value']):.0f}."
    )


def rank_table(metrics: Mapping[str, Any]) -> PlainTable | None:
    """A row for each number, two columns for each model: mean rank, and shift from the rank under the original."""
    models = metrics.get("audits", {}).get(NAME, {}).get("models", {})
    names = in_order(models, MODELS)
    rows = [
        (title, [_cell(models[name], number_, kind) for name in names for kind in ("rank", "shift")])
        for number_, title in ROWS.items()
        if any(f"{number_}_rank" in models[name] for name in names)
    ]
    if not rows:
        return None
    return PlainTable(
        caption="Mean rank of forget images among never-seen ones (0.5 = like them), and its shift from the original",
        head="Number",
        columns=[f"{model_title(name, metrics)}, {kind}" for name in names for kind in ("rank", "shift")],
        rows=rows,
    )


def earlier_table(metrics: Mapping[str, Any]) -> PlainTable | None:
    """A row for each earlier request: the unlearned model's error rank, and its shifts."""
    entries = {id_: entry["models"].get("unlearned") for id_, entry in metrics.get("earlier_requests", {}).items()}
    rows = [
        (id_, [_cell(found, "error", "rank"), *(_cell(found, number_, "shift") for number_ in _EARLIER)])
        for id_, found in entries.items()
        if found
    ]
    if not rows:
        return None
    return PlainTable(
        caption="Images of earlier requests among never-seen ones under the unlearned model (rank 0.5 = like them)",
        head="Request",
        columns=[f"{ROWS['error']}, rank", *(f"{ROWS[number_]}, shift" for number_ in _EARLIER)],
        rows=rows,
    )


def _cell(found: Mapping[str, Any], name: str, kind: str) -> CellView:
    return cell(found.get(f"{name}_{kind}"), _DIGITS, signed=kind == "shift")


def control_sentences(metrics: Mapping[str, Any]) -> list[str]:
    """What the two controls gave; none where the audit was not made."""
    controls = metrics.get("audits", {}).get(NAME, {}).get("facts", {}).get("controls", {})
    halves, flat = (_shifts(controls.get(name, {})) for name in ("halves", "flat"))
    found = []
    if halves:
        found.append(f"Control, must not be found: one half of the never-seen images among the other half, {halves}.")
    if flat:
        found.append(f"Control, must be found: forget images filled with one flat colour, {flat}.")
    return found


def _shifts(found: Mapping[str, Any]) -> str:
    told = []
    for name in ROWS:
        shift = found.get(f"{name}_shift")
        if shift is not None:
            value, ends = number(shift["value"], _DIGITS, signed=True), interval(shift, _DIGITS, signed=True)
            told.append(f"{name} {value}{f' ({ends})' if ends else ''}")
    return ", ".join(told)
