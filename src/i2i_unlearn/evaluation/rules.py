"""Rules of policy lines: what a measurement with its 95 % interval [low, high] says. Pure; bounds are in the policy.

    bounds     pass: the interval keeps every bound; fail: it is wholly beyond one
    shape      fail: the interval excludes 0 and the value is beyond `fails_beyond`; pass: else, where the interval
               keeps the bounds
    memory     of the error's rank: pass where its shift is above 0 for certain and the rank not above a never-seen
               image's for certain; fail where the shift is below 0, or the rank above that, for certain
    relative   fail: the interval is wholly above 0; pass: it keeps the bound

All else is undecided. METHOD sections 12.1 and 13. A never-seen image's rank is 1/2 or, where there are references, the
mean of theirs. Where a reference's own shift stays within `NOTHING_TO_FORGET` for certain, there was nothing to forget,
and a rank that is not too high is a pass; not for a model whose answers are the original's.
"""

from collections.abc import Mapping
from typing import Any, Literal

from i2i_unlearn.evaluation.findings import is_reference
from i2i_unlearn.evaluation.policy import Line

Outcome = Literal["pass", "fail", "undecided", "n/a"]
Found = Mapping[str, Any]
"""value, low and high; the ends are None where there is no interval."""
NOTHING_TO_FORGET = 0.05
_CENTRE = 0.5


def decide(line: Line, found: Found, audit: Mapping[str, Any]) -> tuple[Outcome, str]:
    """Outcome and reason of one line; `audit` is the entry of metrics.json that `found` is from, or empty."""
    if line.rule == "memory":
        return _memory(line, audit)
    value, low, high = ends(found)
    said = interval(found)
    below = line.at_least is not None and high < line.at_least
    above = line.at_most is not None and low > line.at_most
    inside = (line.at_least is None or low >= line.at_least) and (line.at_most is None or high <= line.at_most)
    if line.rule == "shape":
        beyond = (low > 0 or high < 0) and abs(value) > (line.fails_beyond or 0)
        below, above = beyond and value < 0, beyond and value > 0
    elif line.rule == "relative":
        above = low > 0
    if below or above:
        return "fail", f"{said}, wanted {line.bound()}; {line.if_below if below else line.if_above}"
    if inside:
        return "pass", f"{said}, as wanted {line.bound()}"
    return "undecided", f"{said} straddles the bound, wanted {line.bound()}; more images would narrow the interval"


def _memory(line: Line, audit: Mapping[str, Any]) -> tuple[Outcome, str]:
    models = audit["models"]
    own = models[line.measure.model]
    rank, shift = (own[line.measure.metric.replace("_shift", end)] for end in ("_rank", "_shift"))
    references = [found for name, found in models.items() if is_reference(name) and line.measure.metric in found]
    ranks = [found[line.measure.metric.replace("_shift", "_rank")]["value"] for found in references]
    wanted = sum(ranks) / len(ranks) if ranks else _CENTRE
    said = f"shift {interval(shift)}, rank {interval(rank)} where {wanted:.3g} is as if never seen"
    if ends(rank)[1] > wanted:
        return "fail", f"{said}; {line.if_above}"
    if ends(shift)[2] < 0:
        return "fail", f"{said}; {line.if_below}"
    if ends(shift)[1] > 0:
        return "pass", said
    still = [ends(found[line.measure.metric]) for found in references]
    nothing = any(low >= -NOTHING_TO_FORGET and high <= NOTHING_TO_FORGET for _, low, high in still)
    if nothing and ends(shift) != (0, 0, 0):
        return "pass", f"{said}; a retrained model does not move them either, so there was nothing to forget"
    return "undecided", f"{said}; by this measure the original shows no memory of these images that could have gone"


def ends(found: Found) -> tuple[float, float, float]:
    """Value, low and high; the value itself where there is no interval."""
    value = found["value"]
    if found["low"] is None or found["high"] is None:
        return value, value, value
    return value, found["low"], found["high"]


def interval(found: Found) -> str:
    """In words: 0.31 (95 % interval 0.28 to 0.34)."""
    if found["low"] is None or found["high"] is None:
        return f"{found['value']:.4g} (no interval)"
    return f"{found['value']:.4g} (95 % interval {found['low']:.4g} to {found['high']:.4g})"
