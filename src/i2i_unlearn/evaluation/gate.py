"""The gate: (metrics, policy) -> verdict. Pure; thresholds are data in the policy files (policy.py).

Each line is judged by its rule (rules.py): pass, fail or undecided, or n/a where nothing was measured, for lack of
images, references or an audit. A line on an audit that is blind is undecided unless it fails.

    fail        a line failed
    undecided   else, where a line that `decides` is undecided or n/a
    pass        else
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from i2i_unlearn.evaluation.findings import ORIGINAL, TEACHER, original_in
from i2i_unlearn.evaluation.policy import Line, Policy, parse_policy, read_policies
from i2i_unlearn.evaluation.rules import Found, Outcome, decide, ends, interval
from i2i_unlearn.evaluation.views import rehearsed, views

__all__ = [
    "LineVerdict",
    "Outcome",
    "Policy",
    "Verdict",
    "explain_difference",
    "judge",
    "parse_policy",
    "read_policies",
]

_SEVERITY = {"pass": 1, "n/a": 2, "undecided": 3, "fail": 4}
_MOST_LINES = 3  # in the sentence on differing verdicts; all of them are in the verdict


@dataclass(frozen=True, kw_only=True)
class LineVerdict:
    """Whether one line holds, and why. `value`, `low` and `high` are None where nothing was measured."""

    name: str
    measure: str
    value: float | None
    low: float | None
    high: float | None
    bound: str
    outcome: Outcome
    decides: bool
    """Whether the policy stays undecided while the line is undecided or n/a."""
    why: str
    """The outcome's reason in words, with numbers."""
    threshold_why: str
    """The reason for the threshold, from the policy."""
    otherwise: str
    """What it means where the line fails, from the policy."""
    by_rehearsal: bool = False
    """Passed by the recipe, judged on stand-ins, where the request has too few images."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a policy says about one evaluation."""

    policy: str
    asks: str
    """What the policy asks of a model, after "it asks that"."""
    if_passed: str
    """What a pass means, as a sentence."""
    preset: str
    """The preset that trains for this policy; empty where there is none."""
    outcome: Outcome
    lines: tuple[LineVerdict, ...]
    two_person: bool = False
    """The policy wants somebody else to promote than the one who registered."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for verdicts.json; it names the rule of two persons only where it holds."""
        content = {**asdict(self), "lines": [asdict(line) for line in self.lines]}
        return content if self.two_person else {key: content[key] for key in content if key != "two_person"}


def judge(metrics: Mapping[str, Any], policy: Policy) -> Verdict:
    """What `policy` says about the content of metrics.json."""
    lines = tuple(_judge_line(metrics, line) for line in policy.lines)
    return Verdict(
        policy=policy.name,
        asks=policy.asks,
        if_passed=policy.if_passed,
        preset=policy.preset,
        outcome=_worst(lines),
        lines=lines,
        two_person=policy.two_person,
    )


def _worst(lines: Sequence[LineVerdict]) -> Outcome:
    if any(line.outcome == "fail" for line in lines):
        return "fail"
    open_ = any(_is_decisive(line, "undecided") for line in lines)
    counted = any(line.outcome == "pass" for line in lines)  # of no line at all nothing follows
    return "undecided" if open_ or not counted else "pass"


def _judge_line(metrics: Mapping[str, Any], line: Line) -> LineVerdict:
    """Of the views that a line is judged in, the worst; the first of equals.

    What cannot be judged under one operator is not passed by another. An earlier request that is too small is no
    obstacle to those that are not.
    """
    severity = {**_SEVERITY, "n/a": 0} if line.measure.earlier else _SEVERITY
    judged = {name: _judge_or_rehearse(view, line) for name, view in views(metrics, line.measure).items()}
    name, worst = max(judged.items(), key=lambda one: severity[one[1].outcome])
    others = [f"{other} {verdict.outcome}" for other, verdict in judged.items() if other != name]
    told = f"; {', '.join(others)}" if others else ""
    return replace(worst, why=f"{worst.why}{f' ({name}{told})' if name else told}") if name or told else worst


def _judge_or_rehearse(metrics: Mapping[str, Any], line: Line) -> LineVerdict:
    """A rehearsal can pass a line that lacks images; it can do no more."""
    verdict, rehearsal = _judge_view(metrics, line), rehearsed(metrics, line.measure)
    if verdict.outcome != "n/a" or rehearsal is None:
        return verdict
    again = _judge_view(rehearsal, line)
    if again.outcome == "pass":
        count = metrics["rehearsal"]["facts"]["num_stand_ins"]
        return replace(again, by_rehearsal=True, why=f"by rehearsal with {count} stand-ins, {again.why}")
    return replace(verdict, why=f"{verdict.why}; a rehearsal does not help, {again.outcome}: {again.why}")


def _judge_view(metrics: Mapping[str, Any], line: Line) -> LineVerdict:
    measure, named = line.measure, str(line.measure)
    audit = metrics.get("audits", {}).get(measure.audit, {}) if measure.audit else {}
    found: Found | None = measure.find(metrics)
    outcome: Outcome = "n/a"
    if found is None:
        found, why = _NOTHING, measure.lacks(metrics)
    else:
        outcome, why = decide(line, found, audit)
        doubt = _doubt(line, outcome, found, audit, metrics)
        if doubt:
            outcome, why = "undecided", f"{doubt}; found was {interval(found)}, wanted {line.bound()}"
    return LineVerdict(
        name=line.name,
        measure=named,
        value=found["value"],
        low=found["low"],
        high=found["high"],
        bound=line.bound(),
        outcome=outcome,
        # No class is that large, or no earlier request has images enough: there is nothing to judge.
        decides=line.decides and not ((measure.worst_class or measure.earlier) and outcome == "n/a"),
        why=f"{named}: {why}{_said_of_original(line, metrics)}",
        threshold_why=line.why,
        otherwise=line.meaning(found["value"]),
    )


def _said_of_original(line: Line, metrics: Mapping[str, Any]) -> str:
    """That the previous champion takes the original's place, where nobody knows the original."""
    why, measure = metrics.get("original", {}).get("why"), line.measure
    if not why or not (ORIGINAL in (measure.model, measure.minus) or line.rule in ("memory", "shape")):
        return ""
    return f"; judged against the previous champion, since the original is unknown: {why}"


_NOTHING: Found = {"value": None, "low": None, "high": None}


def _doubt(line: Line, outcome: Outcome, found: Found, audit: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Why a measure of an audit decides nothing; empty if it may decide.

    What a blind audit does not find says nothing, but what it does find is found.
    """
    if not audit:
        return ""
    if line.rule in ("shape", "memory"):
        return _doubt_of_controls(line, audit)
    if audit["status"] != "measured" and outcome != "fail":
        return f"the audit is {audit['status']}: {audit['why']}"
    return _doubt_of_original(line, metrics) if outcome == "pass" else ""


def _doubt_of_controls(line: Line, audit: Mapping[str, Any]) -> str:
    """Why audit rank_shift is blind: never-seen images fail by the same rule, or a flat colour does not."""
    controls, metric = audit["facts"]["controls"], line.measure.metric
    innocent = {**audit, "models": {line.measure.model: controls["halves"]}}
    if metric in controls["halves"] and decide(line, controls["halves"][metric], innocent)[0] == "fail":
        return "the audit is blind: never-seen images, ranked among others of their kind, fail as well"
    if line.rule == "shape" and decide(line, controls["flat"][metric], audit)[0] != "fail":
        return "the audit is blind: forget images filled with one flat colour do not fail"
    return ""


def _doubt_of_original(line: Line, metrics: Mapping[str, Any]) -> str:
    """Why a line that an audit passes says nothing: the original model, which is guilty, would pass it as well."""
    measure = line.measure
    made_on = metrics["audits"][measure.audit]["models"]  # not on an original whose weights are destroyed
    original = original_in([name for name in metrics["models"] if name in made_on])
    if measure.minus in (TEACHER, "original"):
        found: Found | None = {"value": 0.0, "low": None, "high": None}
    elif measure.minus == "reference":
        gap = measure.model_copy(update={"model": "reference", "minus": original}).find(metrics)
        found = gap and {key: -value for key, value in zip(("value", "high", "low"), ends(gap), strict=True)}
    else:
        found = measure.model_copy(update={"model": original}).find(metrics)
    if found is None or decide(line, found, {})[0] != "pass":
        return ""
    return f"the original model itself would pass with {interval(found)}, so passing means nothing here"


def _is_decisive(line: LineVerdict, outcome: Outcome) -> bool:
    """Whether the line made the policy's outcome."""
    if outcome == "undecided":
        return line.decides and line.outcome in ("undecided", "n/a")
    return line.outcome == outcome


def explain_difference(deciding: Verdict, others: Sequence[Verdict]) -> str:
    """One sentence that says why other policies' outcomes differ from the deciding one's; empty if none does."""
    parts: list[str] = []
    told: list[LineVerdict] = []  # a policy may hold the lines of another one; each is explained once
    for other in others:
        if other.outcome != deciding.outcome:
            parts.append(_explain(other, told))
            told += [line for line in other.lines if _is_decisive(line, other.outcome)]
    if not parts:
        return ""
    own = "" if deciding.outcome == "pass" else f" ({_of_lines(deciding)})"
    return f"Policy {deciding.policy} says {deciding.outcome}{own}, but {'; '.join(parts)}."


def _explain(verdict: Verdict, told: Sequence[LineVerdict]) -> str:
    reasons = f": {_of_lines(verdict, told)}" if verdict.outcome != "pass" else ", as all of its own lines hold"
    return f"{verdict.policy} says {verdict.outcome}{reasons}"


def _of_lines(verdict: Verdict, told: Sequence[LineVerdict] = ()) -> str:
    """The lines that made the outcome, with numbers; where lines failed, what that means. Not again those `told`."""
    made = [line for line in verdict.lines if _is_decisive(line, verdict.outcome)]
    decisive = [line for line in made if line not in told]
    parts = ["the same"] if len(decisive) < len(made) else []
    for line in decisive[:_MOST_LINES]:
        compared = line.measure.rpartition(", ")[2]
        unit = " dB" if "_db," in line.measure else ""
        found = "was not measured" if line.value is None else f"is {line.value:.3g}{unit}"
        meaning = f", so {line.otherwise}" if line.outcome == "fail" else ""
        parts.append(f"{line.name} ({compared}) {found} where {line.bound} is wanted{meaning}")
    more = len(decisive) - _MOST_LINES
    return "; ".join([*parts, f"and {more} more"] if more > 0 else parts)
