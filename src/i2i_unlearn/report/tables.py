"""Folded tables of comparisons: distances to references, growth of the gap, the classes that lost most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2i_unlearn.evaluation.findings import SETS as SET_NAMES
from i2i_unlearn.evaluation.findings import UNLEARNED, judged_operators, original_in, pair_name
from i2i_unlearn.report.scores import CellView, cell
from i2i_unlearn.report.words import SETS, in_order, metric_words, number, pair_title

_MOST_CLASSES = 5
_SHIFTS = ("error_shift", "contrast_shift")


@dataclass(frozen=True)
class PlainTable:
    """Rows of cells below a head."""

    caption: str
    head: str
    """Of the first column, which names the rows."""
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[CellView]]]


def relative_table(metrics: Mapping[str, Any]) -> PlainTable | None:
    """Distances to every reference next to the references' own; None below two references."""
    found = metrics.get("relative", {})
    rows = []
    for set_name in in_order(found, SETS):
        for metric, test in found[set_name].items():
            about = metric_words(metric)
            title, digits = f"{about.title} ({about.unit})" if about.unit else about.title, about.digits
            distances = [
                CellView(", ".join(number(value, digits) for value in test[key]), "")
                for key in ("to_references", "among_references")
            ]
            rows.append((f"{SETS.get(set_name, set_name)}: {title}", [*distances, cell(test, digits, signed=True)]))
    if not rows:
        return None
    return PlainTable(
        caption="Is the unlearned model farther from retrained models than these are from each other? The intervals "
        "cover the choice of images, not that of the retrained models",
        head="Distance",
        columns=["To each retrained model", "Among these", "Mean of the first − mean of the second"],
        rows=rows,
    )


def gap_growth_table(metrics: Mapping[str, Any]) -> PlainTable | None:
    """How much more a model remembers of the images that stay; None where it was not measured."""
    rows = [
        (pair_title(pair, metrics), [cell(score, 2, signed=True)])
        for pair, gaps in metrics.get("gaps", {}).items()
        for of_metrics in gaps.values()
        if (score := of_metrics.get("hole_psnr_db"))
    ]
    if not rows:
        return None
    return PlainTable(
        caption="Growth of the gap between kept and never-seen images, hole PSNR in dB: above 0, kept images are "
        "remembered more",
        head="Models",
        columns=["Growth"],
        rows=rows,
    )


def class_table(metrics: Mapping[str, Any]) -> PlainTable | None:
    """The classes that lost most against the original; None where no class has enough images."""
    pair = pair_name(UNLEARNED, original_in(metrics["models"]))
    found = metrics.get("classes", {}).get(pair, {})
    rows = []
    for set_name in [name for name in SET_NAMES if name in found]:
        worst = sorted(found[set_name].items(), key=lambda entry: entry[1]["value"])[:_MOST_CLASSES]
        rows += [(f"{SETS[set_name]}: class {label}", [cell(score, 2, signed=True)]) for label, score in worst]
    if not rows:
        return None
    return PlainTable(
        caption=f"Change in hole PSNR (dB) by class, at most {_MOST_CLASSES} classes of a set, the worst first; the "
        "intervals of a set hold together",
        head="Class",
        columns=[pair_title(pair, metrics)],
        rows=rows,
    )


def operator_table(metrics: Mapping[str, Any]) -> PlainTable | None:
    """What the unlearned model does under each operator that was judged; None where it is one alone."""
    if not metrics.get("operators"):
        return None
    pair = pair_name(UNLEARNED, original_in(metrics["models"]))
    first, *further = judged_operators(metrics)
    rows = []
    for name, found in {first: metrics, **{name: metrics["operators"][name] for name in further}}.items():
        changes = found["differences"].get(pair, {})
        ranks = found["audits"].get("rank_shift", {}).get("models", {}).get(UNLEARNED, {})
        cells = [cell(changes.get(set_name, {}).get("hole_psnr_db"), 2, signed=True) for set_name in SETS]
        rows.append((name, [*cells, *(cell(ranks.get(key), 3, signed=True) for key in _SHIFTS)]))
    return PlainTable(
        caption="Hole PSNR of the unlearned model less the original's (dB), and shift of ranks of forget images",
        head="Operator and visible share",
        columns=[*SETS.values(), "Error, shift", "Contrast, shift"],
        rows=rows,
    )
