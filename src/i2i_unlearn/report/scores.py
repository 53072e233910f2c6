"""The metric tables and what they say next to a retrained model, as text for the page. Pure: metrics in, words out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2i_unlearn.evaluation.audits.table import Measure
from i2i_unlearn.evaluation.findings import REFERENCE, TEACHER, UNLEARNED, original_in, pair_name, ratio_name
from i2i_unlearn.report.words import (
    MISSING,
    MODELS,
    SET_MEANINGS,
    SETS,
    in_order,
    interval,
    metric_order,
    metric_words,
    model_title,
    number,
    pair_title,
)

AGAINST_REFERENCE = ("reference_psnr_db", "output_spread")
"""Metrics that only mean something next to a retrained model; they have a table of their own."""
_RATIO_DIGITS = 3


@dataclass(frozen=True)
class CellView:
    """A score as text; `interval` may be empty."""

    value: str
    interval: str
    tells: bool = False
    """For differences: True where the interval leaves zero out."""


@dataclass(frozen=True)
class RowView:
    """One set's scores."""

    set_name: str
    set_title: str
    cells: Sequence[CellView]


@dataclass(frozen=True)
class GroupView:
    """One metric on all sets."""

    words: Measure
    rows: Sequence[RowView]


@dataclass(frozen=True)
class TableView:
    """Metrics down, models (and differences) across."""

    caption: str
    columns: Sequence[str]
    groups: Sequence[GroupView]


def score_table(metrics: Mapping[str, Any]) -> TableView:
    """Every metric but those of `AGAINST_REFERENCE`: each model's score and the change that unlearning made."""
    names = [name for name in _metric_names(metrics) if name not in AGAINST_REFERENCE]
    return _model_table(metrics, "Scores with 95 % bootstrap intervals over images", names)


def gap_table(metrics: Mapping[str, Any]) -> TableView:
    """Every metric with a paired difference: how far unlearned and original are from the retrained model."""
    return TableView(
        caption="Gap to the retrained model, with 95 % intervals of the paired difference and ratio",
        columns=["Unlearned − retrained", "Retrained − original", "Unlearned ÷ retrained"],
        groups=_groups(
            metrics,
            [],
            [pair_name(UNLEARNED, REFERENCE), pair_name(REFERENCE, original_in(metrics["models"]))],
            _metric_names(metrics),
            [ratio_name(UNLEARNED, REFERENCE)],
        ),
    )


def behaviour_table(metrics: Mapping[str, Any]) -> TableView:
    """The metrics of `AGAINST_REFERENCE` for each model and the change that unlearning made."""
    return _model_table(
        metrics,
        "Outputs next to those of a retrained model, with 95 % intervals" if has_reference(metrics) else "Outputs",
        [name for name in _metric_names(metrics) if name in AGAINST_REFERENCE],
    )


def has_reference(metrics: Mapping[str, Any]) -> bool:
    """Whether a retrained model was evaluated."""
    return "reference" in metrics["scores"]


def comparison_sentences(metrics: Mapping[str, Any]) -> list[str]:
    """What the numbers on the forget set say next to a retrained model, one sentence per question."""
    found = (_gap_sentence(metrics), _distance_sentence(metrics), _spread_sentence(metrics))
    return [sentence for sentence in found if sentence]


def _gap_sentence(metrics: Mapping[str, Any]) -> str:
    ours, theirs = (_score(metrics, model, "hole_psnr_db") for model in ("unlearned", "reference"))
    gap = _difference(metrics, "unlearned-reference", "hole_psnr_db")
    if ours is None or theirs is None or gap is None:
        return ""
    meaning = {
        1: "it still completes forget images better than a model that never saw them",
        -1: "it completes forget images worse than a model that never saw them",
        0: "no difference that these images can show",
    }[_direction(gap)]
    return (
        f"On the forget set the unlearned model scores {number(ours['value'], 2)} dB in the hole and the retrained "
        f"model {number(theirs['value'], 2)} dB ({_with_interval(gap, 2)} dB): {meaning}."
    )


def _distance_sentence(metrics: Mapping[str, Any]) -> str:
    original = original_in(metrics["models"])
    before, after = (_score(metrics, model, "reference_psnr_db") for model in (original, UNLEARNED))
    if before is None or after is None:
        return ""
    moved = _difference(metrics, pair_name(UNLEARNED, original), "reference_psnr_db")
    meaning = {
        1: "unlearning moved the outputs towards those of a retrained model",
        -1: "unlearning moved the outputs away from those of a retrained model: "
        "the forget score alone would hide that the model now behaves differently",
        0: "unlearning moved the outputs neither visibly towards those of a retrained model nor away from them",
    }[_direction(moved) if moved else _apart(after, before)]
    return (
        f"On the forget set the original's outputs match the retrained model's at {number(before['value'], 2)} dB, "
        f"the unlearned model's at {number(after['value'], 2)} dB (higher = more alike): {meaning}."
    )


def _spread_sentence(metrics: Mapping[str, Any]) -> str:
    ours, theirs = (_score(metrics, model, "output_spread") for model in ("unlearned", "reference"))
    if ours is None or theirs is None:
        return ""
    gap = _difference(metrics, "unlearned-reference", "output_spread")
    meaning = {
        1: "its answers to forget images differ more from each other than those of a retrained model",
        -1: "its answers to forget images are more alike than those of a retrained model, "
        "which can itself give away that they were forgotten",
        0: "its answers to forget images vary as much as those of a retrained model",
    }[_direction(gap) if gap else _apart(ours, theirs)]
    return (
        f"The unlearned model's outputs on the forget set spread by {number(ours['value'], 3)}, "
        f"the retrained model's by {number(theirs['value'], 3)}: {meaning}."
    )


def _direction(difference: Mapping[str, Any]) -> int:
    """1 or -1 where the whole interval lies above or below zero, else 0."""
    low, high = difference.get("low"), difference.get("high")
    if low is None or high is None:
        return 0
    return int(low > 0) - int(high < 0)


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    """The same for two scores without a paired difference: do their intervals not touch?"""
    if None in (one.get("low"), one.get("high"), other.get("low"), other.get("high")):
        return 0
    return int(one["low"] > other["high"]) - int(one["high"] < other["low"])


def _with_interval(difference: Mapping[str, Any], digits: int) -> str:
    between = interval(difference, digits, signed=True)
    text = number(difference["value"], digits, signed=True)
    return f"{text}, {between}" if between else text


def _model_table(metrics: Mapping[str, Any], caption: str, names: Sequence[str]) -> TableView:
    models = in_order(metrics["scores"], MODELS)
    pairs = [pair_name(UNLEARNED, name) for name in dict.fromkeys((original_in(models), TEACHER))]
    return TableView(
        caption=caption,
        columns=[*(model_title(model, metrics) for model in models), *(pair_title(pair, metrics) for pair in pairs)],
        groups=_groups(metrics, models, pairs, names),
    )


def _groups(
    metrics: Mapping[str, Any],
    models: Sequence[str],
    pairs: Sequence[str],
    names: Sequence[str],
    ratios: Sequence[str] = (),
) -> list[GroupView]:
    """One group per metric; the columns are `models`, then `pairs` (differences), then `ratios`."""
    groups = []
    for metric in names:
        words = metric_words(metric)
        rows = []
        for set_name in _set_names(metrics):
            scores = [_lookup(metrics["scores"], model, set_name, metric) for model in models]
            differences = [_lookup(metrics["differences"], pair, set_name, metric) for pair in pairs]
            quotients = [_lookup(metrics["ratios"], pair, set_name, metric) for pair in ratios]
            if any(scores + differences + quotients):
                cells = [cell(score, words.digits) for score in scores]
                cells += [cell(difference, words.digits, signed=True) for difference in differences]
                cells += [cell(quotient, _RATIO_DIGITS) for quotient in quotients]
                rows.append(RowView(set_name, SETS.get(set_name, set_name), cells))
        groups.append(GroupView(words, rows))
    return [group for group in groups if group.rows]


def cell(score: Mapping[str, Any] | None, digits: int, *, signed: bool = False) -> CellView:
    """A score with its interval; a dash where there is none."""
    if score is None:
        return CellView(MISSING, "")
    tells = signed and _direction(score) != 0
    return CellView(number(score.get("value"), digits, signed=signed), interval(score, digits, signed=signed), tells)


def set_views(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The sets that were scored: title, and meaning with how many images."""
    views = []
    for name in _set_names(metrics):
        counts = metrics["sets"][name]
        scored, total = counts["num_scored"], counts["num_images"]
        text = f"{scored} images" if scored == total else f"{scored} of {total} images"
        views.append((SETS.get(name, name), f"{SET_MEANINGS.get(name, '')}: {text}"))
    return views


def _set_names(metrics: Mapping[str, Any]) -> list[str]:
    return in_order(metrics["sets"], SETS)


def _metric_names(metrics: Mapping[str, Any]) -> list[str]:
    every = (name for sets in metrics["scores"].values() for scores in sets.values() for name in scores)
    return metric_order(dict.fromkeys(every))


def _score(metrics: Mapping[str, Any], model: str, metric: str) -> Mapping[str, Any] | None:
    return _lookup(metrics["scores"], model, "forget", metric)


def _difference(metrics: Mapping[str, Any], pair: str, metric: str) -> Mapping[str, Any] | None:
    return _lookup(metrics["differences"], pair, "forget", metric)


def _lookup(where: Mapping[str, Any], model: str, set_name: str, metric: str) -> Mapping[str, Any] | None:
    """The score, or None where it is missing or has no value."""
    score: Mapping[str, Any] | None = where.get(model, {}).get(set_name, {}).get(metric)
    return None if score is None or score.get("value") is None else score
