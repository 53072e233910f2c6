"""In which evaluations a policy's line is judged: the one at hand, or each of several. Pure.

A view is the content of metrics.json with some entries exchanged, so that every rule reads it as it reads any other:

    ""                the evaluation itself
    operator NAME     each operator that the model is used with, where there are several
    request ID        of a line on earlier requests: audit rank_shift on that request's images
"""

from collections.abc import Mapping
from typing import Any

from i2i_unlearn.evaluation.findings import judged_operators
from i2i_unlearn.evaluation.policy import RANK_SHIFT, Measure

Metrics = Mapping[str, Any]


def views(metrics: Metrics, measure: Measure) -> dict[str, Metrics]:
    """By name; at least one."""
    return {
        ", ".join(filter(None, (operator, request))): view
        for operator, of_operator in _operators(metrics, measure).items()
        for request, view in _requests(of_operator, measure).items()
    }


def _operators(metrics: Metrics, measure: Measure) -> dict[str, Metrics]:
    """Without operators that the measure's audit is not made under."""
    made = {name: of for name, of in metrics.get("operators", {}).items() if measure.audit in (None, *of["audits"])}
    if not made:
        return {"": metrics}
    first, *others = judged_operators({**metrics, "operators": made})
    return {f"operator {first}": metrics} | {f"operator {name}": {**metrics, **made[name]} for name in others}


def _requests(metrics: Metrics, measure: Measure) -> dict[str, Metrics]:
    if not measure.earlier:
        return {"": metrics}
    entries = metrics.get("earlier_requests", {})
    found = {f"request {id_}": _with_audit(metrics, RANK_SHIFT, entry) for id_, entry in entries.items()}
    return found or {"": _with_audit(metrics, RANK_SHIFT, _NONE)}


def rehearsed(metrics: Metrics, measure: Measure) -> Metrics | None:
    """What a rehearsal measured in place of audit rank_shift; None where there was none or it does not concern it."""
    found = metrics.get("rehearsal")
    concerned = measure.audit == RANK_SHIFT and not measure.earlier
    return _with_audit(metrics, RANK_SHIFT, found) if found and concerned else None


_NONE = {"status": "n/a", "why": "no request was promoted before this one", "models": {}}


def _with_audit(metrics: Metrics, audit: str, entry: Mapping[str, Any]) -> Metrics:
    return {**metrics, "audits": {**metrics.get("audits", {}), audit: entry}}
