"""The gate's decision in words: one sentence, the lines behind it, and the short Markdown for a pipeline's UI."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from i2i_unlearn.evaluation.policy import EARLIER
from i2i_unlearn.report.audits import audit_lines
from i2i_unlearn.report.words import (
    MISSING,
    OUTCOME_SIGNS,
    OUTCOMES,
    PLAIN_MEASURES,
    REHEARSED,
    SETS,
    audit_title,
    listed,
    measure_words,
    model_titles,
    plain_measure,
    plain_number,
    plain_set,
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
    decides: bool
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

    @property
    def told(self) -> list[LineView]:
        """The lines that were applied, and those that lack something and leave the policy undecided."""
        return [line for line in self.lines if line.outcome != "n/a" or line.decides]

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Names of all other lines, by what they lack."""
        found: dict[str, list[str]] = {}
        for line in self.lines:
            if line not in self.told:
                found.setdefault(line.why, []).append(line.name)
        return found


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
    lines = _without_repeats([_line(line, metrics) for line in verdict["lines"]])
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


def _without_repeats(lines: Sequence[LineView]) -> list[LineView]:
    """The reason for a bound is told once."""
    first: dict[str, str] = {}
    return [
        line
        if first.setdefault(line.threshold_why, line.name) == line.name
        else replace(line, threshold_why=f"As for {first[line.threshold_why]}.")
        for line in lines
    ]


def _line(line: Mapping[str, Any], metrics: Mapping[str, Any]) -> LineView:
    low, high = plain_number(line["low"]), plain_number(line["high"])
    return LineView(
        name=line["name"],
        measure=_measure(line["measure"], metrics),
        value=plain_number(line["value"]),
        interval="" if MISSING in (low, high) else f"{low} to {high}",
        bound=_bound(line["bound"]),
        outcome=line["outcome"],
        decides=line["decides"],
        by_rehearsal=line["by_rehearsal"],
        # The gate begins its reason with the measurement, which has its own place here.
        why=true_minus(line["why"].removeprefix(f"{line['measure']}: ")),
        threshold_why=line["threshold_why"],
    )


def _bound(bound: str) -> str:
    """`at least -0.1 and at most 0.1` as a range."""
    bound = bound.replace("at least 0 and at most 0, ", "above 0, ")  # of a rank, whose other bound follows
    return true_minus(re.sub(r"at least (\S+) and at most (\S+)", r"\1 to \2", bound))


def _measure(measure: str, metrics: Mapping[str, Any]) -> str:
    """`forget hole_psnr_db, unlearned minus teacher` in the page's words."""
    head, _, models = measure.rpartition(", ")
    where, _, metric = head.rpartition(" ")
    models = model_titles(models, metrics)
    if where.startswith("audit "):
        name, of, _ = where.removeprefix("audit ").partition(EARLIER)
        return f"{_attack(name, metric)}{of}: {models}"
    set_name = where.removeprefix(_WORST)
    one, _, other = set_name.partition(" minus ")
    if one not in SETS or other not in ("", *SETS):
        return model_titles(measure, metrics)
    of = f"images {plain_set(one)}"
    if other:
        of = f"{of} less the same of images {plain_set(other)}"
    elif where != set_name:
        of = f"the worst class of {of}"
    return f"{plain_measure(metric)} of {of}: {models}"


def _attack(audit: str, metric: str) -> str:
    """A measure of an audit in words that need no explanation, else the audit's title and the measure's."""
    return PLAIN_MEASURES.get(metric) or f"{audit_title(audit)}: {measure_words(audit, metric).title}"


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
