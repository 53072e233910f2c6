"""Intervals: a metric is a function of how often each image counts, and resampling changes the counts.

    value      every image counts once
    interval   images are drawn with replacement, as many as there are; the 2.5 % and 97.5 % quantiles over many draws
    paired     two models are compared on the same draws, so what images have in common cancels

Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979); percentile intervals.
Shape letters: K draws, N images.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEVEL = 0.95
_MOST_WEIGHTS = 1_000_000  # in one block (8 MB), so that memory does not grow with images times draws

Key = TypeVar("Key")


@dataclass(frozen=True)
class Statistic:
    """A metric of one model on one set."""

    of: Callable[[Floats], Floats]
    """Counts (K, N), each row summing to about N -> values (K,)."""
    has_interval: bool = True
    """False where resampling would mislead or cost too much; then `of` is asked for all-ones counts only."""
    num_images: int | None = None
    """How many images it looks at; None = all of the set."""


@dataclass(frozen=True)
class Draws:
    """A metric's value and what it becomes on resampled images (None = it has no interval)."""

    value: float
    samples_K: Floats | None
    num_images: int | None = None
    """As in `Statistic`."""
    ends: tuple[float, float] | None = None
    """An exact 95 % interval, given instead of samples."""

    def minus(self, other: "Draws") -> "Draws":
        """The paired difference: both were drawn together."""
        return self._pair(other, np.subtract)

    def divided_by(self, other: "Draws") -> "Draws | None":
        """The paired ratio; None where the divisor is zero in some draw."""
        if other.value == 0 or (other.samples_K is not None and not other.samples_K.all()):
            return None
        return self._pair(other, np.divide)

    def _pair(self, other: "Draws", operation: Callable[[Floats, Floats], Floats]) -> "Draws":
        value = float(operation(np.float64(self.value), np.float64(other.value)))  # type: ignore[arg-type]
        if self.samples_K is None or other.samples_K is None:
            return Draws(value, None, self.num_images)
        return Draws(value, operation(self.samples_K, other.samples_K), self.num_images)


class Measured(TypedDict):
    """A measurement as in metrics.json; `low` and `high` are null where there is no interval."""

    value: float
    low: float | None
    high: float | None
    num_images: int


def measured(draws: Draws, num_images: int, *, of: int = 1) -> Measured:
    """Value and 95 % interval; of `num_images` images, unless the metric looks at fewer.

    `of` is the number of intervals that are to hold together (Bonferroni). One image alone has no interval.
    """
    low, high = draws.ends or (None, None)
    if draws.samples_K is not None and num_images > 1:
        tail = (1 - LEVEL) / 2 / of
        low, high = (float(edge) for edge in np.quantile(draws.samples_K, (tail, 1 - tail)))
    return {"value": draws.value, "low": low, "high": high, "num_images": draws.num_images or num_images}


def draw(
    statistics: Mapping[Key, Statistic], *, num_images: int, num_draws: int, rng: np.random.Generator
) -> dict[Key, Draws]:
    """Evaluate all statistics on the images as they are and on the same `num_draws` resamplings of them."""
    ones = np.ones((1, num_images))
    values = {key: float(statistic.of(ones)[0]) for key, statistic in statistics.items()}
    resampled = {key: statistic for key, statistic in statistics.items() if statistic.has_interval}
    blocks: dict[Key, list[Floats]] = {key: [] for key in resampled}
    for counts_KN in _resampled_counts(num_images, num_draws, rng):
        for key, statistic in resampled.items():
            blocks[key].append(statistic.of(counts_KN))
    return {
        key: Draws(value, np.concatenate(blocks[key]) if key in blocks else None, statistics[key].num_images)
        for key, value in values.items()
    }


def _resampled_counts(num_images: int, num_draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each image was drawn, in blocks of draws (K, N)."""
    most = max(1, _MOST_WEIGHTS // num_images)
    for start in range(0, num_draws, most):
        num = min(most, num_draws - start)
        drawn_KN = rng.integers(num_images, size=(num, num_images))
        drawn_KN += np.arange(num)[:, None] * num_images  # one range of bins a draw, so that one count does all
        yield np.bincount(drawn_KN.ravel(), minlength=num * num_images).reshape(num, num_images).astype(np.float64)


def weighted_mean(values_N: NDArray[np.floating]) -> Callable[[Floats], Floats]:
    """Counts (K, N) -> the mean of `values_N` in each draw (K,)."""
    values = values_N.astype(np.float64)
    return lambda counts_KN: counts_KN @ values / counts_KN.sum(1)
