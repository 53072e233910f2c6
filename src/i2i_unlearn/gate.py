"""The gate: (metrics, policy) -> verdict. Pure; thresholds are data in the policy files.

A line bounds one measurement. With its 95 % interval [low, high]:

    pass        the whole interval is on the good side of every bound
    fail        the whole interval is beyond one bound
    undecided   the interval straddles a bound, or the measurement is missing

A measurement without an interval counts by its value alone. Any failed line fails the policy; else any undecided line
leaves it undecided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from i2i_unlearn.errors import UserError
from i2i_unlearn.metrics.names import (
    FEATURE_METRICS,
    PAIRS,
    PLAIN_METRICS,
    RATIO_METRICS,
    pair_name,
    ratio_name,
)

_MOST_LINES = 3  # in the sentence on differing verdicts; all of them are in the verdict

Outcome = Literal["pass", "fail", "undecided"]
ModelName = Literal["teacher", "unlearned", "reference"]
SetName = Literal["forget", "retain", "forget_holdout", "retain_holdout"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measure(_Strict):
    """What is bounded: a model's metric on a set, as it is, less another model's, or as a multiple of it."""

    model: ModelName
    minus: ModelName | None = None
    divided_by: ModelName | None = None
    set: SetName
    metric: str

    @model_validator(mode="after")
    def _is_measured(self) -> Self:
        if self.minus and self.divided_by:
            raise ValueError("give minus or divided_by, not both")
        other = self.minus or self.divided_by
        if other and (self.model, other) not in PAIRS:
            pairs = ", ".join(f"{of} against {against}" for of, against in PAIRS)
            raise ValueError(f"{self.model} against {other} is not measured; choose one of: {pairs}")
        if self.metric not in PLAIN_METRICS and not self.metric.startswith(tuple(f"{m}_" for m in FEATURE_METRICS)):
            known = ", ".join([*PLAIN_METRICS, *(f"{m}_<extractor>" for m in FEATURE_METRICS)])
            raise ValueError(f"metric {self.metric!r} is not known; choose one of: {known}")
        if self.divided_by and self.metric not in RATIO_METRICS:
            raise ValueError(f"no ratio is taken of {self.metric}; ratios exist of: {', '.join(RATIO_METRICS)}")
        return self

    def find(self, metrics: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The measurement in the content of metrics.json, None if it was not made."""
        if self.minus:
            table, key = "differences", pair_name(self.model, self.minus)
        elif self.divided_by:
            table, key = "ratios", ratio_name(self.model, self.divided_by)
        else:
            table, key = "scores", self.model
        found: Mapping[str, Any] | None = metrics.get(table, {}).get(key, {}).get(self.set, {}).get(self.metric)
        return found

    def __str__(self) -> str:
        """In words: forget hole_psnr_db, unlearned minus teacher."""
        more = f" minus {self.minus}" if self.minus else f" divided by {self.divided_by}" if self.divided_by else ""
        return f"{self.set} {self.metric}, {self.model}{more}"


class Line(_Strict):
    """One bounded measurement and the reason for the bound."""

    name: str
    measure: Measure
    at_least: FiniteFloat | None = None
    if_below: str = ""
    """What it means where the measurement is below `at_least`, as the end of a sentence."""
    at_most: FiniteFloat | None = None
    if_above: str = ""
    """What it means where the measurement is above `at_most`, as the end of a sentence."""
    why: str
    """The reason for the threshold."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most, or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is above at_most {self.at_most:g}")
        for bound, value, key, meaning in (
            ("at_least", self.at_least, "if_below", self.if_below),
            ("at_most", self.at_most, "if_above", self.if_above),
        ):
            if (value is not None) != bool(meaning):
                raise ValueError(f"{bound} and {key} come together: a bound, and what it means where it is broken")
        return self

    def bound(self) -> str:
        """The bound in words: at least -0.5."""
        parts = [] if self.at_least is None else [f"at least {self.at_least:g}"]
        return " and ".join(parts + ([] if self.at_most is None else [f"at most {self.at_most:g}"]))

    def meaning(self, value: float | None) -> str:
        """What it means where the line fails with `value`; where it does not, what a failure would mean."""
        if value is not None and self.at_least is not None and value < self.at_least:
            return self.if_below
        if value is not None and self.at_most is not None and value > self.at_most:
            return self.if_above
        return ", or ".join(filter(None, (self.if_below, self.if_above)))


class Policy(_Strict):
    """A named set of lines: what an unlearned model must and must not do. Files: mlflow/policies/*.yaml."""

    schema_version: Literal[1]
    name: str
    purpose: str
    lines: tuple[Line, ...] = Field(min_length=1)


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
    purpose: str
    outcome: Outcome
    lines: tuple[LineVerdict, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for verdicts.json."""
        return {**asdict(self), "lines": [asdict(line) for line in self.lines]}


def parse_policy(name: str, content: Mapping[str, Any]) -> Policy:
    """Check a policy's content.

    Raises:
        UserError: names each wrong line and key.
    """
    try:
        policy = Policy.model_validate(content)
    except ValidationError as error:
        raise UserError(f"policy {name}: {_faults(content, error)}") from None
    if policy.name != name:
        raise UserError(f"policy {name}: its key `name` says {policy.name!r}; make the two equal")
    return policy


def _faults(content: Mapping[str, Any], error: ValidationError) -> str:
    """All faults in one line; lines of the policy are called by their name where they have one."""
    faults = []
    for fault in error.errors():
        where = [str(part) for part in fault["loc"]]
        if len(where) > 1 and where[0] == "lines":
            where[:2] = [_line_name(content, int(where[1]))]
        message = "is not a known key; remove it or correct its name"
        if fault["type"] == "missing":
            message = "is missing; add it"
        elif fault["type"] != "extra_forbidden":
            message = fault["msg"].removeprefix("Value error, ")
        faults.append(f"{'.'.join(where)}: {message}")
    return "; ".join(faults)


def _line_name(content: Mapping[str, Any], position: int) -> str:
    line = content["lines"][position]
    name = line.get("name") if isinstance(line, Mapping) else None
    return f"line {position + 1} ({name})" if name else f"line {position + 1}"


def read_policies(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Contents of all policy files of a folder by name (the file's name without .yaml), checked.

    Raises:
        UserError: there is none, or one is wrong.
    """
    paths = sorted(Path(folder).glob("*.yaml"))
    if not paths:
        raise UserError(f"{folder}: no policy (*.yaml) in it; run from the folder that holds mlflow/policies")
    contents = {}
    for path in paths:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())}); correct that line") from None
        if not isinstance(content, dict):
            raise UserError(f"{path}: must hold keys, found {type(content).__name__}")
        parse_policy(path.stem, content)
        contents[path.stem] = content
    return contents


def judge(metrics: Mapping[str, Any], policy: Policy) -> Verdict:
    """What `policy` says about the content of metrics.json."""
    lines = tuple(_judge_line(metrics, line) for line in policy.lines)
    return Verdict(policy=policy.name, purpose=policy.purpose, outcome=_worst(lines), lines=lines)


def _worst(lines: Sequence[LineVerdict]) -> Outcome:
    outcomes = {line.outcome for line in lines}
    return "fail" if "fail" in outcomes else "undecided" if "undecided" in outcomes else "pass"


def _judge_line(metrics: Mapping[str, Any], line: Line) -> LineVerdict:
    found = line.measure.find(metrics) or {"value": None, "low": None, "high": None}
    value, low, high = found["value"], found["low"], found["high"]
    outcome, why = _decide(line, value, low, high)
    return LineVerdict(
        name=line.name,
        measure=str(line.measure),
        value=value,
        low=low,
        high=high,
        bound=line.bound(),
        outcome=outcome,
        why=f"{line.measure}: {why}",
        threshold_why=line.why,
        otherwise=line.meaning(value),
    )


def _decide(line: Line, value: float | None, low: float | None, high: float | None) -> tuple[Outcome, str]:
    if value is None:
        return "undecided", f"not measured (there is no such model, or too few images), wanted {line.bound()}"
    if low is None or high is None:
        low = high = value
        found = f"{value:.4g} (no interval)"
    else:
        found = f"{value:.4g} (95 % interval {low:.4g} to {high:.4g})"
    floor = -float("inf") if line.at_least is None else line.at_least
    ceiling = float("inf") if line.at_most is None else line.at_most
    if high < floor or low > ceiling:
        return "fail", f"{found}, wanted {line.bound()}; {line.meaning(value)}"
    if low >= floor and high <= ceiling:
        return "pass", f"{found}, as wanted {line.bound()}"
    return "undecided", f"{found} straddles the bound, wanted {line.bound()}; more images would narrow the interval"


def explain_difference(deciding: Verdict, others: Sequence[Verdict]) -> str:
    """One sentence that says why other policies' outcomes differ from the deciding one's; empty if none does."""
    parts = [_explain(other) for other in others if other.outcome != deciding.outcome]
    if not parts:
        return ""
    own = "" if deciding.outcome == "pass" else f" ({_of_lines(deciding)})"
    return f"Policy {deciding.policy} says {deciding.outcome}{own}, but {'; '.join(parts)}."


def _explain(verdict: Verdict) -> str:
    reasons = f": {_of_lines(verdict)}" if verdict.outcome != "pass" else ", as all of its own lines hold"
    return f"{verdict.policy} says {verdict.outcome}{reasons}"


def _of_lines(verdict: Verdict) -> str:
    """The lines that made the outcome, with numbers; where lines failed, what that means."""
    decisive = [line for line in verdict.lines if line.outcome == verdict.outcome]
    parts = []
    for line in decisive[:_MOST_LINES]:
        compared = line.measure.rpartition(", ")[2]
        unit = " dB" if "_db," in line.measure else ""
        found = "was not measured" if line.value is None else f"is {line.value:.3g}{unit}"
        meaning = f", so {line.otherwise}" if line.outcome == "fail" else ""
        parts.append(f"{line.name} ({compared}) {found} where {line.bound} is wanted{meaning}")
    more = len(decisive) - len(parts)
    return "; ".join([*parts, f"and {more} more"] if more > 0 else parts)
