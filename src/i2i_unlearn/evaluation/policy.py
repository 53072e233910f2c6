"""Policies: which measurements of metrics.json are bounded, by what, and why. Data in files, mlflow/policies/*.yaml.

What a policy says about an evaluation: gate.py. JSON schema, for editors: docs/policy.schema.json.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from i2i_unlearn.evaluation.audits.table import AUDITS
from i2i_unlearn.evaluation.findings import (
    FEWEST_OF_CLASS,
    GAP_SETS,
    ORIGINAL,
    PAIRS,
    is_reference,
    original_in,
    pair_name,
    ratio_name,
)
from i2i_unlearn.evaluation.metrics import relative
from i2i_unlearn.evaluation.metrics.table import RATIO_METRICS, find_metric, names_to_choose
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.yaml_file import read_mapping

ModelName = Literal["teacher", "unlearned", "original", "reference"]
"""`original` is the model before any request, `teacher` the previous champion."""
SetName = Literal["forget", "retain", "forget_holdout", "retain_holdout"]
_SHIFTS = {"shape": ("contrast_shift", "roughness_shift", "edge_shift"), "memory": ("error_shift",)}
"""Measures of audit rank_shift that a rule judges."""
RANK_SHIFT = "rank_shift"
EARLIER = " of earlier requests"
"""Behind the audit's name in a measure's words."""
Place = tuple[int | str, ...]
"""Where in a policy: ("lines", 0, "measure", "set")."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Measure(_Strict):
    """What is bounded: a model's metric on a set or in an audit, as it is, minus another model's, or divided by it."""

    model: ModelName
    minus: ModelName | None = None
    divided_by: ModelName | None = None
    set: SetName | None = None
    """Of a score; an audit has none."""
    minus_set: SetName | None = None
    """The growth of the gap between two sets: retain minus retain_holdout, of hole_psnr_db."""
    worst_class: bool = False
    """The difference on the class of `set` where it is lowest, of hole_psnr_db."""
    relative: bool = False
    """The relative test against two references or more (evaluation/metrics/relative.py)."""
    audit: str | None = None
    """Name of the audit, where the metric is one of an audit's measures."""
    earlier: bool = False
    """Of audit rank_shift: on each earlier request, promoted, whose images still exist; the worst counts."""
    metric: str

    @model_validator(mode="after")
    def _is_measured(self) -> Self:
        if (self.set is None) == (self.audit is None):
            raise ValueError("give either set, for a score, or audit")
        if self.minus and self.divided_by:
            raise ValueError("give minus or divided_by, not both")
        other = self.minus or self.divided_by
        if other and (self.model, other) not in PAIRS:
            pairs = ", ".join(f"{of} against {against}" for of, against in PAIRS)
            raise ValueError(f"{self.model} against {other} is not measured; choose one of: {pairs}")
        if self.earlier and self.audit != RANK_SHIFT:
            raise ValueError(f"earlier goes with audit: {RANK_SHIFT} alone")
        if self.relative or self.minus_set or self.worst_class:
            self._check_special()
        elif self.audit is not None:
            self._check_audit(self.audit)
        else:
            self._check_score()
        return self

    def _check_special(self) -> None:
        if self.relative and ((self.minus or self.divided_by or self.audit) or self.metric not in relative.METRICS):
            raise ValueError(f"relative goes with set and one of the metrics {', '.join(relative.METRICS)} alone")
        if self.minus_set and (self.set, self.minus_set) != GAP_SETS:
            raise ValueError(f"minus_set is measured of {' minus '.join(GAP_SETS)} alone")
        if not self.relative and (self.minus is None or self.metric != "hole_psnr_db"):
            raise ValueError("minus_set and worst_class go with minus, and with the metric hole_psnr_db")

    def _check_score(self) -> None:
        if find_metric(self.metric) is None:
            raise ValueError(f"metric {self.metric!r} is not known; choose one of: {', '.join(names_to_choose())}")
        if self.divided_by and self.metric not in RATIO_METRICS:
            raise ValueError(f"no ratio is taken of {self.metric}; ratios exist of: {', '.join(RATIO_METRICS)}")

    def _check_audit(self, audit: str) -> None:
        if audit not in AUDITS:
            raise ValueError(f"audit {audit!r} is not known; choose one of: {', '.join(AUDITS)}")
        measures = AUDITS[audit].measures
        if self.metric not in measures:
            raise ValueError(
                f"metric {self.metric!r} is not one of audit {audit}; choose one of: {', '.join(measures)}"
            )
        if self.divided_by:
            raise ValueError("no ratio is taken of audits; use minus")

    def find(self, metrics: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The measurement in the content of metrics.json, None if it was not made."""
        original = original_in(metrics.get("models", {}))
        model, minus, divided_by = (
            original if name == ORIGINAL else name for name in (self.model, self.minus, self.divided_by)
        )
        where = metrics if self.audit is None else metrics.get("audits", {}).get(self.audit, {})
        pair = pair_name(str(model), str(minus))
        if self.relative:
            return _at(metrics, "relative", self.set, self.metric)
        if self.minus_set:
            return _at(metrics, "gaps", pair, pair_name(str(self.set), self.minus_set), self.metric)
        if self.worst_class:
            return _worst(_at(metrics, "classes", pair, self.set) or {})
        if self.minus:
            keys = ["differences", pair]
        elif self.divided_by:
            keys = ["ratios", ratio_name(str(model), str(divided_by))]
        else:
            keys = ["scores" if self.audit is None else "models", str(model)]
        return _at(where, *keys, *([self.set] if self.set else []), self.metric)

    def lacks(self, metrics: Mapping[str, Any]) -> str:
        """Why nothing was measured, in words."""
        models = metrics.get("models", {})
        against = {self.model, self.minus, self.divided_by} & {"reference"} or self.metric.startswith("reference_")
        if self.relative:
            count = sum(is_reference(name) for name in models)
            return f"{relative.FEWEST_REFERENCES} references are needed, there are {count} (reference.count)"
        audit = metrics.get("audits", {}).get(self.audit)
        if self.audit and audit is None:
            return f"the audit was not made (a sweep makes none); add {self.audit} to evaluate.audits.run"
        if audit and audit["status"] != "measured":
            return str(audit["why"])
        if against and "reference" not in models:
            return "a reference is needed, there is none (reference.count)"
        if self.worst_class:
            return f"no class has {FEWEST_OF_CLASS} scored images of {self.set}, or the images name no class"
        if self.audit:
            return f"{self.metric} does not exist for these images"
        return "it was not measured: no such model, another extractor, or too few images"

    def __str__(self) -> str:
        """In words: forget hole_psnr_db, unlearned minus teacher."""
        more = f" minus {self.minus}" if self.minus else f" divided by {self.divided_by}" if self.divided_by else ""
        where = f"audit {self.audit}" if self.audit else str(self.set)
        if self.earlier:
            where += EARLIER
        if self.minus_set:
            where = f"{where} minus {self.minus_set}"
        if self.worst_class:
            where = f"worst class of {where}"
        return f"{where} {self.metric}, {self.model}{' against references' if self.relative else more}"


def _at(content: Mapping[str, Any], *keys: str | None) -> Mapping[str, Any] | None:
    found: Any = content
    for key in keys:
        found = found.get(key, {})
    return found or None


def _worst(classes: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The lowest value and ends: a bound that they keep, every class keeps."""
    if not classes:
        return None
    return {key: min(found[key] for found in classes.values()) for key in ("value", "low", "high")}


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
    rule: Literal["bounds", "shape", "memory", "relative"] = "bounds"
    """How the measurement is judged (evaluation/rules.py)."""
    fails_beyond: FiniteFloat | None = None
    """Of the rule `shape`: it fails only where the mean is farther from 0 than this."""
    decides: bool = True
    """Whether the policy stays undecided while this line is undecided or not applicable."""
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
        if (self.rule == "shape") != (self.fails_beyond is not None):
            raise ValueError("fails_beyond goes with rule: shape, and with no other")
        if self.rule in ("shape", "memory") and self.measure.metric not in _SHIFTS[self.rule]:
            raise ValueError(f"rule {self.rule} judges audit rank_shift: {', '.join(_SHIFTS[self.rule])}")
        if (self.rule == "relative") != self.measure.relative:
            raise ValueError("rule: relative and measure.relative come together")
        return self

    def bound(self) -> str:
        """The bound in words: at least -0.5."""
        parts = [] if self.at_least is None else [f"at least {self.at_least:g}"]
        parts += [] if self.at_most is None else [f"at most {self.at_most:g}"]
        return " and ".join(parts) + (", ranked as if never seen" if self.rule == "memory" else "")

    def meaning(self, value: float | None) -> str:
        """What it means where the line fails with `value`; where it does not, what a failure would mean."""
        if value is not None and self.at_least is not None and value < self.at_least:
            return self.if_below
        if value is not None and self.at_most is not None and value > self.at_most:
            return self.if_above
        return ", or ".join(filter(None, (self.if_below, self.if_above)))


class Policy(_Strict):
    """A named set of lines: what an unlearned model must and must not do."""

    schema_version: Literal[1]
    name: str
    asks: str
    """What it asks of a model, after "it asks that"."""
    if_passed: str
    """What a pass means, as a sentence: the headline of the report."""
    preset: str = ""
    """The preset (presets/) that trains for this policy, where there is one."""
    two_person: bool = False
    """Whether somebody else must promote a model than the one who registered it."""
    lines: tuple[Line, ...] = Field(min_length=1)


def parse_policy(name: str, content: Mapping[str, Any], place: Callable[[Place], str] = lambda _: "") -> Policy:
    """Check a policy's content. `place` tells where in a file a fault is, as the beginning of a sentence.

    Raises:
        UserError: names each wrong line and key.
    """
    try:
        policy = Policy.model_validate(content)
    except ValidationError as error:
        raise UserError(f"policy {name}: {_faults(content, error, place)}") from None
    if policy.name != name:
        raise UserError(f"policy {name}: {place(('name',))}its key `name` says {policy.name!r}; make the two equal")
    return policy


def _faults(content: Mapping[str, Any], error: ValidationError, place: Callable[[Place], str]) -> str:
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
        faults.append(f"{place(fault['loc'])}{'.'.join(where)}: {message}")
    return "; ".join(faults)


def _line_name(content: Mapping[str, Any], position: int) -> str:
    line = content["lines"][position]
    name = line.get("name") if isinstance(line, Mapping) else None
    return f"line {position + 1} ({name})" if name else f"line {position + 1}"


def read_policies(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Contents of all policy files of a folder by name (the file's name without .yaml), checked.

    Raises:
        UserError: there is none, or one is wrong; tells the line of the file.
    """
    paths = sorted(Path(folder).glob("*.yaml"))
    if not paths:
        raise UserError(f"{folder}: no policy (*.yaml) in it; run from the folder that holds mlflow/policies")
    return {path.stem: _read_policy(path) for path in paths}


def _read_policy(path: Path) -> dict[str, Any]:
    content = read_mapping(path, missing="no such policy; correct the path", holds="keys")
    tree = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    parse_policy(path.stem, content, lambda place: f"{path}:{line_of(tree, place)}: ")
    return content


def line_of(tree: yaml.Node | None, place: Place) -> int:
    """Line of the file, from 1, where `place` stands, or the innermost part of it that is there."""
    line = 0
    for part in place:
        if isinstance(tree, yaml.MappingNode):
            pairs = {key.value: (key, value) for key, value in tree.value}
            if part not in pairs:
                break
            key, tree = pairs[part]
            line = key.start_mark.line
        elif isinstance(tree, yaml.SequenceNode) and isinstance(part, int) and part < len(tree.value):
            tree = tree.value[part]
            line = tree.start_mark.line
    return int(line) + 1


def schema_text() -> str:
    """What docs/policy.schema.json holds."""
    return json.dumps(Policy.model_json_schema(), indent=2) + "\n"
