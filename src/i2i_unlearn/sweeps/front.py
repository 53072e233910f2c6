"""The Pareto front of points with costs: the points that no other point dominates.

A point dominates another if it is at least as good in every cost and better in one.
"""

import math
from collections.abc import Sequence

Costs = Sequence[float | None]
"""Less is better in each; None or nan where it was not measured."""


def on_front(points: Sequence[Costs]) -> list[bool]:
    """Whether each point is on the front, in the order given. Points of equal costs are on it together or not at all.

    A point that lacks a cost is not on the front and dominates no other.
    """
    return [_is_known(mine) and not any(dominates(other, mine) for other in points) for mine in points]


def dominates(one: Costs, other: Costs) -> bool:
    """Whether `one` is at least as good as `other` in every cost and better in at least one."""
    if not _is_known(one) or not _is_known(other):
        return False
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _is_known(costs: Costs) -> bool:
    return all(cost is not None and not math.isnan(cost) for cost in costs)
