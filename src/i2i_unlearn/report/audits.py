"""The audits as text for the page and the short Markdown: question, status with its reason, result of every model.

An audit that is blind or undecided has found nothing out, so its words, sign and colour are never those of a pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2i_unlearn.evaluation.findings import PAIRS, pair_name
from i2i_unlearn.report import rank_shift
from i2i_unlearn.report.scores import CellView, cell
from i2i_unlearn.report.words import (
    MODELS,
    SETS,
    audit_title,
    in_order,
    interval,
    measure_words,
    model_title,
    number,
    pair_title,
    plain_number,
    true_minus,
)

STATUSES = {"measured": "Measured", "blind": "Blind: says nothing", "n/a": "Not applicable"}
STATUS_SIGNS = {"measured": "●", "blind": "⊘", "n/a": "–"}
STATUS_MEANINGS = {
    "measured": "the attack tells the original model, which remembers, from one that never saw the forget images; so "
    "what it finds, or fails to find, in the unlearned model counts",
    "blind": "the attack does not even find what the original model remembers; that it finds nothing in the unlearned "
    "model means nothing",
    "n/a": "images or a retrained model are missing, so nothing was found out",
}
_FACTS = {
    "num_members": "forget images",
    "num_others": "images compared with",
    "losses_averaged": "losses averaged for each image",
    "completions_averaged": "completions averaged for each image",
    "num_shown": "images that the attacker holds",
    "num_steps": "training steps of the attacker",
    "num_retain": "retain images of the attacker",
    "num_features": "features",
    "num_folds": "folds",
    "perturbations": "neighbours of each image",
    "size_of_255": "largest change of a pixel, of 255",
    "teacher_level_db": "level of the original model before the attack, dB",
    "learning_rate": "learning rate of the attacker",
    "width": "width of the attacker's decoder",
    "forget_per_step": "forget images per step",
    "retain_per_step": "retain images per step",
    "original_level_db": "level of the original model before any training, dB",
    "num_auxiliary_images": "never-seen images trained on",
    "num_retain_images": "images to keep trained on",
    "num_auxiliary_steps": "steps on never-seen images",
    "num_retain_steps": "steps on images to keep (one epoch)",
    "auxiliary_censored": "not back at that level within the steps on never-seen images",
    "retain_censored": "not back at that level within the epoch",
    "num_canaries": "canaries",
    "num_canaries_included": "of these trained on",
    "num_canaries_tested": "of these in the tested half",
    "num_canaries_withdrawn": "of these trained on and withdrawn",
    "censored": "not back at that level within these steps",
    "num_kept": "images to keep",
    "num_references": "retrained models",
    "tpr_at_1pct_fpr_left_out": "share found at 1 % false alarms left out",
    "tpr_at_01pct_fpr_left_out": "share found at .1 % false alarms left out",
    "calibrated_left_out": "calibrated attack left out",
    "reference_left_out": "calibrated attack on the retrained model left out",
    "num_forget": "forget images",
    "num_forget_holdout": "never-seen images of the same classes",
    "num_retain_holdout": "never-seen images of other classes",
    "confounded": "beware",
    "num_never_seen": "never-seen images",
    "num_further_never_seen": "of these, completed only to be ranked with their class",
    "ranked_among_all_classes": "images ranked among all classes, their own having too few",
}

_NUM_WORST = 5
_TOLD_FROM = {**SETS, "never_seen": "all never-seen images, class by class"}
_BY = {"calibrated": "by calibrated loss", "loss": "by loss"}


@dataclass(frozen=True)
class AuditRow:
    """One measure on every model and for every pair of models."""

    title: str
    meaning: str
    decides: bool
    cells: Sequence[CellView]


@dataclass(frozen=True)
class AuditView:
    """One audit, as text."""

    name: str
    title: str
    question: str
    status: str
    """measured | blind | n/a"""
    finding: str
    """What it says about the unlearned model, in one sentence."""
    why: str
    columns: Sequence[str]
    rows: Sequence[AuditRow]
    facts: Sequence[tuple[str, str]]


def audit_views(metrics: Mapping[str, Any]) -> list[AuditView]:
    """Every audit of metrics.json, in its order; none where no audit was made."""
    return [_view(name, audit, metrics) for name, audit in metrics.get("audits", {}).items()]


def audit_lines(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each audit's title, status with its sign, and what it says of the unlearned model."""
    return [
        (view.title, f"{STATUS_SIGNS[view.status]} {STATUSES[view.status]}", view.finding)
        for view in audit_views(metrics)
    ]


def _view(name: str, audit: Mapping[str, Any], metrics: Mapping[str, Any]) -> AuditView:
    models = in_order(audit["models"], MODELS)
    pairs = in_order(audit["differences"], [pair_name(*pair) for pair in PAIRS])
    return AuditView(
        name=name,
        title=audit_title(name),
        question=audit["question"],
        status=audit["status"],
        finding=rank_shift.finding(audit) if name == rank_shift.NAME else _finding(name, audit),
        why=rank_shift.WHY
        if name == rank_shift.NAME and audit["status"] == "measured"
        else _in_words(name, audit["why"], audit["measure"]),
        columns=[*(model_title(model, metrics) for model in models), *(pair_title(pair, metrics) for pair in pairs)],
        rows=[] if name == rank_shift.NAME else _rows(name, audit, models, pairs),
        facts=_facts(audit),
    )


def _in_words(name: str, why: str, measure: str) -> str:
    """The reason with the measure's title, for which it has the name in metrics.json."""
    told = true_minus(why.replace(measure, measure_words(name, measure).title))
    return told[:1].upper() + told[1:] + "."


def _rows(name: str, audit: Mapping[str, Any], models: list[str], pairs: list[str]) -> list[AuditRow]:
    found = dict.fromkeys(measure for model in models for measure in audit["models"][model])
    rows = []
    for measure in sorted(found, key=lambda one: one != audit["measure"]):
        about = measure_words(name, measure)
        cells = [cell(audit["models"][model].get(measure), about.digits) for model in models]
        cells += [cell(audit["differences"][pair].get(measure), about.digits, signed=True) for pair in pairs]
        rows.append(AuditRow(about.title, about.meaning, measure == audit["measure"], cells))
    return rows


def _finding(name: str, audit: Mapping[str, Any]) -> str:
    """Against the reference where there is one, else against the value of an innocent model."""
    if audit["status"] == "blind":
        return "Says nothing about the unlearned model: the attack does not find what the original model remembers."
    if audit["status"] != "measured":
        return "Nothing was found out, so nothing is claimed."
    about = measure_words(name, audit["measure"])
    gap = audit["differences"].get(pair_name("unlearned", "reference"), {}).get(audit["measure"])
    if gap is not None:
        told = f"{number(gap['value'], about.digits, signed=True)}{_between(gap, about.digits, signed=True)}"
        if _includes(gap, 0.0):
            return f"The attack does not tell the unlearned model from the retrained one: they differ by {told}."
        return f"The attack tells the unlearned model from the retrained one: they differ by {told}."
    found = audit["models"]["unlearned"].get(audit["measure"])
    if found is None or audit["innocent"] is None:
        return "No value is known to be innocent; the lines of the policy say what the numbers mean."
    told = f"{number(found['value'], about.digits)}{_between(found, about.digits)}"
    innocent = plain_number(audit["innocent"])
    if _includes(found, audit["innocent"]):
        return f"The attack finds no trace in the unlearned model: {told}, where {innocent} is innocent."
    return f"The attack finds a trace in the unlearned model: {told}, where {innocent} is innocent."


def _between(found: Mapping[str, Any], digits: int, *, signed: bool = False) -> str:
    between = interval(found, digits, signed=signed)
    return f" ({between})" if between else ""


def _includes(found: Mapping[str, Any], value: float) -> bool:
    """Without an interval nothing is told apart."""
    low, high = found["low"], found["high"]
    return low is None or high is None or bool(low <= value <= high)


def _worst(found: Mapping[str, Any]) -> str:
    """The first few; evidence has them all, and `review make` their pictures."""
    named = [f"{code} ({score:.3g})" for code, score in zip(found["codes"], found["scores"], strict=True)]
    return true_minus(f"{_BY[found['by']]}: {', '.join(named[:_NUM_WORST])}")


def _facts(audit: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    if audit["num_images"]:
        facts.append(("images that the numbers rest on", plain_number(audit["num_images"])))
    if audit["compared_with"]:
        facts.append(("told from", _TOLD_FROM.get(audit["compared_with"], audit["compared_with"]).lower()))
    if audit["innocent"] is not None and audit["models"]:
        facts.append(("value of an innocent model", plain_number(audit["innocent"])))
    for name, value in audit["facts"].items():
        if name == "worst_images":
            facts.append(("most exposed forget images, by keyed code", _worst(value)))
        if isinstance(value, Mapping):
            continue  # tables; metrics.json has them
        text = ", ".join(map(str, value)) if isinstance(value, list) else plain_number(value)
        if text:
            facts.append((_FACTS.get(name, name.replace("_", " ")), text))
    return facts
