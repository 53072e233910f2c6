"""Forgetting at equal retain damage: every objective has a dial, and dials are compared where they cost the same.

damage    hole PSNR of the original minus the unlearned model's, on retain (dB)
forget    hole PSNR on forget (dB): lower = more forgotten; the reference's level tells how much is right
"""

from collections.abc import Sequence

from benchmarks.quality.intervals import Interval, over_seeds
from benchmarks.quality.results import Group, Place

DAMAGES = (0.1, 0.3)


def crossing(damages: Sequence[float], forgets: Sequence[float], at: float) -> float | None:
    """Least forget score where the polyline through (damage, forget), in the dial's order, has damage `at`.

    None where it does not get there: nothing is extrapolated.
    """
    points = list(zip(damages, forgets, strict=True))
    found = [forget for damage, forget in points if damage == at]
    for (damage_a, forget_a), (damage_b, forget_b) in zip(points, points[1:], strict=False):
        if (damage_a - at) * (damage_b - at) < 0:
            part = (at - damage_a) / (damage_b - damage_a)
            found.append(forget_a + part * (forget_b - forget_a))
    return min(found) if found else None


def forget_at(groups: Sequence[Group], original: Group, damage: float) -> Interval | None:
    """Forget score at equal damage: each seed's own curve, then mean and interval over the seeds that get there.

    `groups` are the settings of one objective in the dial's order.
    """
    level = original.values("retain", "hole_psnr_db")[0]
    curves: dict[int, tuple[list[float], list[float]]] = {}
    for group in groups:
        for seed in group.seeds:
            damages, forgets = curves.setdefault(seed.case.seed, ([], []))
            damages.append(level - seed.scores["retain"]["hole_psnr_db"])
            forgets.append(seed.scores["forget"]["hole_psnr_db"])
    values = [value for curve in curves.values() if (value := crossing(*curve, damage)) is not None]
    return over_seeds(values) if values else None


def damage_and_forget(group: Group, original: Group) -> tuple[float, float]:
    """Means over seeds."""
    lost = group.minus(original, "retain", "hole_psnr_db")
    forget = group.mean("forget", "hole_psnr_db")
    if lost is None or forget is None:
        raise ValueError(f"{group.name}: no score on forget or retain")
    return -lost.mean, forget.mean


def is_dominated(group: Group, place: Place) -> Group | None:
    """A setting of another objective that forgets more and damages less, by the means; None if there is none."""
    damage, forget = damage_and_forget(group, place.original)
    for other in place.unlearned:
        if other.case.model != group.case.model:
            other_damage, other_forget = damage_and_forget(other, place.original)
            if other_damage < damage and other_forget < forget:
                return other
    return None
