"""What is asked of a setting that wants to be like retraining, and which setting of an objective comes nearest.

    aim               measured                                                        met
    forget            hole PSNR on forget, minus the reference's                      within .3 dB
    retain, unseen    hole PSNR there, minus the original's                           within .15 dB
    features          FD on retain over the original's, minus 1                       within .03
    outputs           floor minus PSNR to the reference's outputs on forget           at most .3 dB
    spread            spread of outputs on forget over the reference's, minus 1       within .15
    membership        AUC by loss minus the reference's: ends of its 95 % interval    both within .05
    time              seconds over the reference's                                    at most .25 (data set's)

The floor is the PSNR between the outputs of two references. All are means over seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from benchmarks.quality.intervals import Interval
from benchmarks.quality.results import Group, Place

MOST_EXCESS = 10.0
"""A single hopeless aim must not outweigh all others when settings are ranked."""


@dataclass(frozen=True)
class Aim:
    name: str
    unit: str
    limit: float
    measured: Interval | None
    """None where it cannot be measured, e.g. with one reference."""
    two_sided: bool = True
    by_interval: bool = False
    """Whether the interval's ends must be within the limit, not the mean alone."""

    @property
    def excess(self) -> float:
        """Distance from the ideal in units of the limit: at most 1 is met."""
        if self.measured is None:
            return 0.0
        values = [self.measured.mean]
        if self.by_interval:
            values += [end for end in (self.measured.low, self.measured.high) if end is not None]
        return max(abs(value) if self.two_sided else value for value in values) / self.limit

    @property
    def is_met(self) -> bool | None:
        return None if self.measured is None else self.excess <= 1


@cache
def aims(group: Group, place: Place) -> list[Aim]:
    """All aims of one setting."""
    original, reference = place.original, place.reference
    fd = group.ratio(original, "retain", "fd")
    spread = group.ratio(reference, "forget", "output_spread")
    return [
        Aim("forget", "dB", 0.3, group.minus(reference, "forget", "hole_psnr_db")),
        Aim("retain", "dB", 0.15, group.minus(original, "retain", "hole_psnr_db")),
        Aim("unseen", "dB", 0.15, group.minus(original, "unseen", "hole_psnr_db")),
        Aim("features", "", 0.03, _less(fd, 1)),
        Aim("outputs", "dB", 0.3, _below(place.floor, place.to_reference(group)), two_sided=False),
        Aim("spread", "", 0.15, _less(spread, 1)),
        Aim("membership", "", 0.05, place.auc_gap(group), by_interval=True),
        Aim("time", "", place.most_time, place.time_share(group), two_sided=False),
    ]


def nearest(groups: Sequence[Group], place: Place) -> Group:
    """The group that meets the most aims; among equals the least mean excess. Time does not matter for the choice."""

    def rank(group: Group) -> tuple[int, float]:
        found = [aim for aim in aims(group, place) if aim.name != "time"]
        missed = sum(not aim.is_met for aim in found if aim.measured is not None)
        return missed, sum(min(max(aim.excess, 0), MOST_EXCESS) for aim in found) / len(found)

    return min(groups, key=rank)


def _less(interval: Interval | None, number: float) -> Interval | None:
    if interval is None:
        return None
    ends = [None if end is None else end - number for end in (interval.low, interval.high)]
    return Interval(interval.mean - number, ends[0], ends[1], interval.num)


def _below(floor: Interval | None, interval: Interval) -> Interval | None:
    """Floor minus the interval."""
    if floor is None:
        return None
    ends = [None if end is None else floor.mean - end for end in (interval.high, interval.low)]
    return Interval(floor.mean - interval.mean, ends[0], ends[1], interval.num)
