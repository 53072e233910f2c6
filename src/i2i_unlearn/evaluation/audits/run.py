"""Makes the audits that the settings name, and says what each can say.

The result is `audits` of metrics.json:

    {audit: {question, measure, innocent, compared_with, num_images, status, why, models, differences, curves, facts}}

    measure, innocent   what decides, and its value for a model that never saw the forget set; null where only the
                        reference tells
    status, why         measured | blind | n/a (base.py), and the reason in words
    models              {model: {measure: {value, low, high, num_images}}}
    differences         {"unlearned-teacher": {measure: ...}, ...}     paired: on the same resampled images
    curves, facts       {model: {column: [...]}}, {name: ...}

An audit that made no attack because it lacked images has empty models, differences, curves and facts.
"""

import math
from collections.abc import Mapping
from typing import Any

from i2i_unlearn.evaluation.audits.base import NEVER_SEEN, Attacked, Audit, AuditInputs
from i2i_unlearn.evaluation.audits.table import AUDITS
from i2i_unlearn.evaluation.findings import PAIRS, REFERENCE, original_in, pair_name
from i2i_unlearn.evaluation.metrics.bootstrap import Measured, measured
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.progress import Advance

Table = dict[str, dict[str, Measured]]
"""model or pair -> measure -> measurement"""


def units_of(inputs: AuditInputs) -> int:
    """Length of the progress bar of all audits that will be made."""
    audits = _audits(inputs)
    return sum(audit.units(inputs) for audit in audits.values() if not lacking(audit, inputs))


def run_audits(inputs: AuditInputs, advance: Advance) -> dict[str, dict[str, Any]]:
    """Make all audits, in the order of the settings; return the entry `audits` of metrics.json.

    Raises:
        UserError: an audit gives numbers that are not finite.
    """
    return {name: _run(audit, inputs, advance) for name, audit in _audits(inputs).items()}


def _audits(inputs: AuditInputs) -> dict[str, Audit]:
    return {name: AUDITS[name].load() for name in dict.fromkeys(inputs.settings.run)}


def _run(audit: Audit, inputs: AuditInputs, advance: Advance) -> dict[str, Any]:
    lacks = lacking(audit, inputs)
    if lacks:
        return _entry(audit, Attacked(measures={}, num_images=0), audit.measure, "n/a", lacks)
    attacked = audit.attack(inputs, advance)
    _check_finite(audit, attacked)
    return _entry(audit, attacked, *decided(audit, attacked))


def _entry(audit: Audit, attacked: Attacked, measure: str, status: str, why: str) -> dict[str, Any]:
    return {
        "question": audit.question,
        "measure": measure,
        "innocent": audit.innocent if attacked.innocent_holds else None,
        "compared_with": attacked.compared_with,
        "num_images": attacked.num_images,
        "status": status,
        "why": why,
        "models": _models(attacked),
        "differences": _differences(attacked),
        "curves": {model: dict(columns) for model, columns in attacked.curves.items()},
        "facts": dict(attacked.facts),
    }


def lacking(audit: Audit, inputs: AuditInputs) -> str:
    """What images the audit lacks, in words; empty if none."""
    faults = []
    for role in audit.sets:
        names: tuple[str, ...] = (role,)
        if role == "never_trained":
            names = (inputs.never_trained(audit.min_images)[0],)
        elif role == NEVER_SEEN:
            names = inputs.never_seen(audit.min_images)
        num = inputs.num_images(names)
        if num < audit.min_images:
            limit = " (as many as evaluate.audits.max_images lets in)" if num == inputs.settings.max_images else ""
            faults.append(f"{audit.min_images} images of {' and '.join(names)} are needed, there are {num}{limit}")
    return "; ".join(faults)


def decided(audit: Audit, attacked: Attacked) -> tuple[str, str, str]:
    """Deciding measure, status and reason: the first measure by which the attack finds the original, if any does."""
    if attacked.status:
        return audit.measure, *attacked.status
    judged = [(measure, *judge(audit, attacked, measure)) for measure in attacked.deciding or (audit.measure,)]
    return next((one for one in judged if one[1] == "measured"), judged[0])


def judge(audit: Audit, attacked: Attacked, measure: str = "") -> tuple[str, str]:
    """Status and reason: does the measure (empty: the audit's own) tell the guilty original from an innocent model?"""
    measure = measure or audit.measure
    original = original_in(attacked.measures)
    models, differences = _models(attacked), _differences(attacked)
    innocent = audit.innocent if attacked.innocent_holds else None
    guilty = models[original].get(measure)
    gap = differences.get(pair_name(REFERENCE, original), {}).get(measure)
    if guilty is None:
        return "n/a", f"{measure} cannot be measured without a reference"
    if innocent is None and gap is None:
        return "n/a", (f"no value of {measure} is known to be innocent here, so it says nothing without a reference")
    reasons = []
    if innocent is not None:
        if not _above(guilty, innocent):
            return "blind", (
                f"the original model's {measure} is {_interval(guilty)}, which is not all above {innocent:g},"
                " the value of a model that never saw the images"
            )
        reasons.append(f"the original model's {measure} is {_interval(guilty)}, an innocent one's {innocent:g}")
    if gap is not None:
        if not _below(gap, 0.0):
            return "blind", (
                f"reference and original model differ by {_interval(gap)} in {measure}, which is not all below 0:"
                " the attack does not find the original guiltier"
            )
        reasons.append(f"reference and original model differ by {_interval(gap)} in {measure}")
    return "measured", "; ".join(reasons)


def _above(found: Measured, value: float) -> bool:
    """The whole interval; without one nothing is told apart. Guilt shows upwards in the measure of every audit."""
    return found["low"] is not None and found["low"] > value


def _below(found: Measured, value: float) -> bool:
    return found["high"] is not None and found["high"] < value


def _interval(found: Measured) -> str:
    if found["low"] is None or found["high"] is None:
        return f"{found['value']:.3g} (no interval)"
    return f"{found['value']:.3g} (95 % interval {found['low']:.3g} to {found['high']:.3g})"


def _models(attacked: Attacked) -> Table:
    return {
        model: {measure: measured(draws, attacked.num_images) for measure, draws in found.items()}
        for model, found in attacked.measures.items()
    }


def _differences(attacked: Attacked) -> Table:
    found: Table = {}
    for of, against in PAIRS:
        one, other = attacked.measures.get(of, {}), attacked.measures.get(against, {})
        if one and other:
            found[pair_name(of, against)] = {
                measure: measured(draws.minus(other[measure]), attacked.num_images)
                for measure, draws in one.items()
                if measure in other
            }
    return found


def _check_finite(audit: Audit, attacked: Attacked) -> None:
    values: Mapping[str, Mapping[str, Any]] = attacked.measures
    for model, found in values.items():
        for measure, draws in found.items():
            if not math.isfinite(draws.value):
                raise UserError(
                    f"audit {audit.name}: {measure} of the {model} model is not finite; its weights are broken, make"
                    f" it again, or leave {audit.name} out of evaluate.audits.run"
                )
