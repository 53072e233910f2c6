"""The gate's decision in words: one sentence, the lines behind it, and the short Markdown for a pipeline's UI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2i_unlearn.evaluation.policy import EARLIER
from i2i_unlearn.report.audits import audit_lines
from i2i_unlearn.report.words import (
    MISSING,
    OUTCOME_SIGNS,
    OUTCOMES,
    REHEARSED,
    SETS,
    audit_title,
    listed,
    measure_words,
    metric_words,
    model_titles,
    plain_number,
    true_minus,
)

_WORST = "worst class of "
_NAMED = 2  # more than this make no sentence; the table below has all


@dataclass(frozen=True)
class LineView:
    """One line of the gate, as text."""

    name: str
    measure: str
    """What is bounded, in words."""
    value: str
    interval: str
    bound: str
    outcome: str
    """pass | fail | undecided | n/a"""
    by_rehearsal: bool
    why: str
    threshold_why: str
    """The reason for the bound."""


@dataclass(frozen=True)
class PolicyView:
    """One policy's verdict, as text."""

    name: str
    asks: str
    preset: str
    outcome: str
    tally: str
    lines: Sequence[LineView]


@dataclass(frozen=True)
class DecisionView:
    """The deciding policy, the other policies, and what to say where they differ."""

    sentence: str
    deciding: PolicyView
    others: Sequence[PolicyView]
    difference: str


def decision(verdicts: Mapping[str, Any], metrics: Mapping[str, Any]) -> DecisionView:
    """Everything the page says about the gate, from the content of verdicts.json and metrics.json."""
    deciding = verdicts["deciding"]
    views = {name: _policy(name, verdict, metrics) for name, verdict in verdicts["verdicts"].items()}
    return DecisionView(
        sentence=verdict_sentence(verdicts),
        deciding=views[deciding],
        others=[view for name, view in views.items() if name != deciding],
        difference=model_titles(true_minus(verdicts["sentence"]), metrics),
    )


def verdict_sentence(verdicts: Mapping[str, Any]) -> str:
    """The deciding policy's verdict in one plain sentence."""
    verdict = verdicts["verdicts"][verdicts["deciding"]]
    outcome = verdict["outcome"]
    if outcome == "pass":
        rehearsed = [line["name"] for line in verdict["lines"] if line["by_rehearsal"]]
        told = f" By rehearsal, on stand-ins for too few images: {_some(rehearsed)}." if rehearsed else ""
        return f"{verdict['if_passed']}{told}"
    decisive = [line for line in verdict["lines"] if is_decisive(line, outcome)]
    if outcome == "fail":
        meanings = list(dict.fromkeys(line["otherwise"] for line in decisive))
        more = f" (and {len(meanings) - 1} more)" if len(meanings) > 1 else ""
        return f"Do not promote: {meanings[0]}{more}."
    return f"Undecided: not enough evidence about {_some([line['name'] for line in decisive]) or 'anything'}."


def is_decisive(line: Mapping[str, Any], outcome: str) -> bool:
    """Whether a line made the policy's outcome."""
    if outcome == "undecided":
        return line["decides"] and line["outcome"] in ("undecided", "n/a")
    return bool(line["outcome"] == outcome)


def decision_markdown(metrics: Mapping[str, Any], verdicts: Mapping[str, Any]) -> str:
    """The decision as short Markdown: sentence, lines of the deciding policy, the other policies' outcome."""
    view = decision(verdicts, metrics)
    out = [
        f"## {OUTCOME_SIGNS[view.deciding.outcome]} {OUTCOMES[view.deciding.outcome]}: {_plain(view.sentence)}",
        "",
        f"Policy `{_plain(view.deciding.name)}`, {view.deciding.tally}. {_plain(_scored(metrics))}",
        "",
        "| Check | Value | 95 % interval | Bound | Outcome | Why |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for line in view.deciding.lines:
        cells = (
            f"{line.name} ({line.measure})",
            line.value,
            line.interval,
            line.bound,
            f"{OUTCOMES[line.outcome]} {REHEARSED}" if line.by_rehearsal else OUTCOMES[line.outcome],
            line.why,
        )
        out.append(f"| {' | '.join(_plain(cell) for cell in cells)} |")
    for other in view.others:
        asks = f"It asks that {_plain(other.asks)}."
        out += ["", f"Policy `{_plain(other.name)}`: {OUTCOMES[other.outcome].lower()}, {other.tally}. {asks}"]
    attacks = audit_lines(metrics)
    if attacks:
        out += ["", "| Audit | Status | Finding |", "| --- | --- | --- |"]
        out += [f"| {' | '.join(_plain(cell) for cell in cells)} |" for cells in attacks]
    if view.difference:
        out += ["", _plain(view.difference)]
    return "\n".join(out) + "\n"


def _policy(name: str, verdict: Mapping[str, Any], metrics: Mapping[str, Any]) -> PolicyView:
    lines = [_line(line, metrics) for line in verdict["lines"]]
    passed = sum(line.outcome == "pass" for line in lines)
    not_applicable = sum(line.outcome == "n/a" for line in lines)
    rehearsed = sum(line.by_rehearsal for line in lines)
    more = f" ({rehearsed} {REHEARSED})" if rehearsed else ""
    more += f", {not_applicable} not applicable" if not_applicable else ""
    return PolicyView(
        name=name,
        asks=verdict["asks"],
        preset=verdict["preset"],
        outcome=verdict["outcome"],
        tally=f"{passed} of {len(lines) - not_applicable} checks passed{more}",
        lines=lines,
    )


def _line(line: Mapping[str, Any], metrics: Mapping[str, Any]) -> LineView:
    low, high = plain_number(line["low"]), plain_number(line["high"])
    return LineView(
        name=line["name"],
        measure=_measure(line["measure"], metrics),
        value=plain_number(line["value"]),
        interval="" if MISSING in (low, high) else f"{low} to {high}",
        bound=true_minus(line["bound"]),
        outcome=line["outcome"],
        by_rehearsal=line["by_rehearsal"],
        # The gate begins its reason with the measurement, which has its own place here.
        why=true_minus(line["why"].removeprefix(f"{line['measure']}: ")),
        threshold_why=line["threshold_why"],
    )


def _measure(measure: str, metrics: Mapping[str, Any]) -> str:
    """`forget hole_psnr_db, unlearned minus teacher` in the page's words."""
    head, _, models = measure.rpartition(", ")
    where, _, metric = head.rpartition(" ")
    models = model_titles(models, metrics)
    if where.startswith("audit "):
        name, of, _ = where.removeprefix("audit ").partition(EARLIER)
        return f"{audit_title(name)}{of}: {measure_words(name, metric).title}, {models}"
    set_name = where.removeprefix(_WORST)
    one, _, other = set_name.partition(" minus ")
    if one not in SETS or other not in ("", *SETS):
        return model_titles(measure, metrics)
    of = f"{SETS[one].lower()} images"
    if other:
        of = f"{of} less that on {SETS[other].lower()} images"
    elif where != set_name:
        of = f"the worst class of {of}"
    return f"{metric_words(metric).title} on {of}, {models}"


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return listed([*names[:_NAMED], f"{rest} more"] if rest > 0 else names)


def _scored(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['sets']['forget']['num_scored']} forget images were scored."


def _plain(text: str) -> str:
    """Text that stays text in a Markdown table: no line breaks, cells, links or HTML."""
    flat = " ".join(text.split())
    for sign in "\\|[]<>":
        flat = flat.replace(sign, "\\" + sign)
    return flat
