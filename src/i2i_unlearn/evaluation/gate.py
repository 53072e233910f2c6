"""The gate: (metrics, policy) -> verdict. Pure; thresholds are data in the policy files (policy.py).

A line bounds one measurement. With its 95 % interval [low, high]:

    pass        the whole interval is on the good side of every bound
    fail        the whole interval is beyond one bound
    undecided   the interval straddles a bound, the measurement is missing, or the audit it belongs to is blind or
                undecided itself

A measurement without an interval counts by its value alone. Any failed line fails the policy; else any undecided line
leaves it undecided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from i2i_unlearn.evaluation.audits.table import AUDITS
from i2i_unlearn.evaluation.findings import SINGLE_IMAGES
from i2i_unlearn.evaluation.policy import Line, Measure, Policy, parse_policy, read_policies

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

_MOST_LINES = 3  # in the sentence on differing verdicts; all of them are in the verdict

Outcome = Literal["pass", "fail", "undecided"]


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
    why: str
    """The outcome's reason in words, with numbers."""
    threshold_why: str
    """The reason for the threshold, from the policy."""
    otherwise: str
    """What it means where the line fails, from the policy."""


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
    left_out: tuple[str, ...] = ()
    """Names of lines that only a reference could judge, where held-out images stand for it: they were not judged."""
    two_person: bool = False
    """The policy wants somebody else to promote than the one who registered."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for verdicts.json; it names the rule of two persons only where it holds."""
        content = {**asdict(self), "lines": [asdict(line) for line in self.lines]}
        return content if self.two_person else {key: content[key] for key in content if key != "two_person"}


def judge(metrics: Mapping[str, Any], policy: Policy) -> Verdict:
    """What `policy` says about the content of metrics.json."""
    alone = _held_out_images_suffice(metrics)
    kept = [line for line in policy.lines if not (alone and line.or_holdout and _of_reference_only(line.measure))]
    lines = tuple(_judge_line(metrics, line, instead=alone and line.or_holdout) for line in kept)
    left_out = tuple(line.name for line in policy.lines if line not in kept)
    return Verdict(
        policy=policy.name,
        asks=policy.asks,
        if_passed=policy.if_passed,
        preset=policy.preset,
        outcome=_worst(lines),
        lines=lines,
        left_out=left_out,
        two_person=policy.two_person,
    )


def _held_out_images_suffice(metrics: Mapping[str, Any]) -> bool:
    """The requests name single images, of the kinds held out, and there is no reference to compare with."""
    alike = metrics.get("selected_by") == SINGLE_IMAGES and metrics.get("holdout_alike", False)
    return bool(alike) and "reference" not in metrics.get("models", {})


def _of_reference_only(measure: Measure) -> bool:
    """Held-out images cannot tell it: a score, or an audit that is about the reference."""
    return measure.audit is None or AUDITS[measure.audit].needs_reference


def _worst(lines: Sequence[LineVerdict]) -> Outcome:
    outcomes = {line.outcome for line in lines} or {"undecided"}  # of no line at all nothing follows
    return "fail" if "fail" in outcomes else "undecided" if "undecided" in outcomes else "pass"


def _judge_line(metrics: Mapping[str, Any], line: Line, *, instead: bool) -> LineVerdict:
    """`instead`: judge by the images held out, as there is no reference."""
    named, found = (_from_innocent if instead else _found)(metrics, line.measure)
    value, low, high = found["value"], found["low"], found["high"]
    outcome, why = _decide(line, value, low, high)
    doubt = _doubt(metrics, line.measure, found_something=outcome == "fail")
    if not doubt and outcome == "pass" and line.measure.audit:
        doubt = _doubt_of_original(metrics, line, instead=instead)
    if doubt:
        measured = "" if value is None else f"; found was {_interval(value, low, high)}, wanted {line.bound()}"
        outcome, why = "undecided", f"{doubt}{measured}"
    return LineVerdict(
        name=line.name,
        measure=named,
        value=value,
        low=low,
        high=high,
        bound=line.bound(),
        outcome=outcome,
        why=f"{named}: {why}",
        threshold_why=line.why,
        otherwise=line.meaning(value),
    )


_NOTHING: Mapping[str, Any] = {"value": None, "low": None, "high": None}


def _found(metrics: Mapping[str, Any], measure: Measure) -> tuple[str, Mapping[str, Any]]:
    """The measurement, and what it is called."""
    return str(measure), measure.find(metrics) or _NOTHING


def _from_innocent(metrics: Mapping[str, Any], measure: Measure) -> tuple[str, Mapping[str, Any]]:
    """An audit's main measure less the value of a model that never saw the images."""
    named = f"audit {measure.audit} {measure.metric}, {measure.model} minus innocent value"
    audit = metrics.get("audits", {}).get(measure.audit, {})
    innocent = audit.get("innocent") if audit.get("measure") == measure.metric else None
    found = audit.get("models", {}).get(measure.model, {}).get(measure.metric)
    if innocent is None or found is None:
        return named, _NOTHING
    return named, {key: None if found[key] is None else found[key] - innocent for key in _NOTHING}


def _doubt(metrics: Mapping[str, Any], measure: Measure, *, found_something: bool) -> str:
    """Why a measure of an audit decides nothing; empty if it may decide.

    What a blind audit does not find says nothing, but what it does find is found.
    """
    if measure.audit is None:
        return ""
    audit = metrics.get("audits", {}).get(measure.audit)
    if audit is None:
        return f"the audit was not made (a sweep makes none); add {measure.audit} to evaluate.audits.run and evaluate"
    may_decide = audit["status"] == "measured" or (audit["status"] == "blind" and found_something)
    return "" if may_decide else f"the audit is {audit['status']}: {audit['why']}"


def _doubt_of_original(metrics: Mapping[str, Any], line: Line, *, instead: bool) -> str:
    """Why a line that an audit passes says nothing: the original model, which is guilty, would pass it as well."""
    measure = line.measure
    if measure.minus == "teacher":
        found: Mapping[str, Any] = {"value": 0.0, "low": None, "high": None}
    elif measure.minus == "reference" and not instead:
        gap = measure.model_copy(update={"model": "reference", "minus": "teacher"}).find(metrics) or _NOTHING
        ends = {"value": gap["value"], "low": gap["high"], "high": gap["low"]}
        found = {key: None if value is None else -value for key, value in ends.items()}
    else:
        of_teacher = measure.model_copy(update={"model": "teacher", "minus": None if not instead else measure.minus})
        found = (_from_innocent if instead else _found)(metrics, of_teacher)[1]
    if _decide(line, found["value"], found["low"], found["high"])[0] != "pass":
        return ""
    return (
        f"the original model itself would pass with {_interval(found['value'], found['low'], found['high'])}, so"
        " passing means nothing here"
    )


def _decide(line: Line, value: float | None, low: float | None, high: float | None) -> tuple[Outcome, str]:
    if value is None:
        return "undecided", f"not measured (no such model, another extractor, or too few images), wanted {line.bound()}"
    found = _interval(value, low, high)
    if low is None or high is None:
        low = high = value
    floor = -float("inf") if line.at_least is None else line.at_least
    ceiling = float("inf") if line.at_most is None else line.at_most
    if high < floor or low > ceiling:
        return "fail", f"{found}, wanted {line.bound()}; {line.meaning(value)}"
    if low >= floor and high <= ceiling:
        return "pass", f"{found}, as wanted {line.bound()}"
    return "undecided", f"{found} straddles the bound, wanted {line.bound()}; more images would narrow the interval"


def _interval(value: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"{value:.4g} (no interval)"
    return f"{value:.4g} (95 % interval {low:.4g} to {high:.4g})"


def explain_difference(deciding: Verdict, others: Sequence[Verdict]) -> str:
    """One sentence that says why other policies' outcomes differ from the deciding one's; empty if none does."""
    parts: list[str] = []
    told: list[LineVerdict] = []  # a policy may hold the lines of another one; each is explained once
    for other in others:
        if other.outcome != deciding.outcome:
            parts.append(_explain(other, told))
            told += [line for line in other.lines if line.outcome == other.outcome]
    if not parts:
        return ""
    own = "" if deciding.outcome == "pass" else f" ({_of_lines(deciding)})"
    return f"Policy {deciding.policy} says {deciding.outcome}{own}, but {'; '.join(parts)}."


def _explain(verdict: Verdict, told: Sequence[LineVerdict]) -> str:
    reasons = f": {_of_lines(verdict, told)}" if verdict.outcome != "pass" else ", as all of its own lines hold"
    return f"{verdict.policy} says {verdict.outcome}{reasons}"


def _of_lines(verdict: Verdict, told: Sequence[LineVerdict] = ()) -> str:
    """The lines that made the outcome, with numbers; where lines failed, what that means. Not again those `told`."""
    made = [line for line in verdict.lines if line.outcome == verdict.outcome]
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
