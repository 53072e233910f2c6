"""Two programs timed in turns, for machines that others use too: only their ratio within a pair says anything.

Next to the wall clock is the time that the processors worked for this process (all its threads); a machine
that is busy with others stretches the first and hardly the second.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Time:
    """Seconds of one run."""

    wall_s: float
    processor_s: float


@dataclass(frozen=True)
class Pair:
    """One run of each, right after one another."""

    ours: Time
    theirs: Time

    @property
    def wall_ratio(self) -> float:
        """How many times faster ours is by the clock on the wall."""
        return self.theirs.wall_s / self.ours.wall_s

    @property
    def processor_ratio(self) -> float:
        """The same by processor time."""
        return self.theirs.processor_s / self.ours.processor_s


def timed(call: Callable[[], Any]) -> Time:
    """Seconds that `call` takes, work on a GPU included."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Time(time.perf_counter() - wall, time.process_time() - processor)


def in_pairs(ours: Callable[[], Any], theirs: Callable[[], Any], num_pairs: int) -> list[Pair]:
    """Pairs of runs; who goes first changes from pair to pair, so that a drift favours neither."""
    pairs = []
    for number in range(num_pairs):
        if number % 2:
            their_time = timed(theirs)
            pairs.append(Pair(timed(ours), their_time))
        else:
            our_time = timed(ours)
            pairs.append(Pair(our_time, timed(theirs)))
    return pairs


def median(values: list[float]) -> float:
    """The middle value: a run that another program disturbed does not move it."""
    return statistics.median(values)
