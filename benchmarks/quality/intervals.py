"""Means and 95 % intervals over seeds, and the membership AUC with its interval.

Shape letters: S seeds, N images, K draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; the ends are None where one number tells nothing of its spread."""

    mean: float
    low: float | None = None
    high: float | None = None
    num: int = 1

    @property
    def half(self) -> float | None:
        """Half the interval's width."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def over_seeds(values: Sequence[float]) -> Interval:
    """Student's t over seeds."""
    mean, variance, count = _moments(values)
    if count < 2:  # noqa: PLR2004
        return Interval(mean, num=count)
    half = stats.t.ppf(0.5 + LEVEL / 2, count - 1) * np.sqrt(variance / count)
    return Interval(mean, float(mean - half), float(mean + half), count)


def difference(of: Sequence[float], against: Sequence[float]) -> Interval:
    """Difference of two means over seeds; Welch's interval where both have several seeds.

    Against a single model (the teacher) only the first one's seeds vary.
    """
    if len(against) == 1:
        shifted = over_seeds([value - against[0] for value in of])
        return shifted
    mean_a, variance_a, num_a = _moments(of)
    mean_b, variance_b, num_b = _moments(against)
    mean = mean_a - mean_b
    if num_a < 2:  # noqa: PLR2004
        return Interval(mean, num=num_a)
    part_a, part_b = variance_a / num_a, variance_b / num_b
    if part_a + part_b == 0:
        return Interval(mean, mean, mean, num_a)
    freedom = (part_a + part_b) ** 2 / (part_a**2 / (num_a - 1) + part_b**2 / (num_b - 1))
    half = stats.t.ppf(0.5 + LEVEL / 2, freedom) * np.sqrt(part_a + part_b)
    return Interval(mean, float(mean - half), float(mean + half), num_a)


def _moments(values: Sequence[float]) -> tuple[float, float, int]:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()), float(array.var(ddof=1)) if len(array) > 1 else 0.0, len(array)


def auc(member_N: Floats, other_N: Floats) -> float:
    """Chance that a member has the smaller loss than a non-member; 1/2 where they are alike. Ties count half."""
    ranks = stats.rankdata(np.concatenate([member_N, other_N]))
    above = ranks[len(member_N) :].sum() - len(other_N) * (len(other_N) + 1) / 2
    return float(above / (len(member_N) * len(other_N)))


def _auc_draws(members: Floats, others: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """AUC of each seed on the same resampled images, (K, S). Losses are (S, N)."""
    # smaller[s, i, j]: member i has the smaller loss than other j, for seed s
    smaller = np.stack(
        [
            (member[:, None] < other[None, :]) + 0.5 * (member[:, None] == other[None, :])
            for member, other in zip(members, others, strict=True)
        ]
    ).astype(np.float32)
    count_m = rng.multinomial(members.shape[1], np.full(members.shape[1], 1 / members.shape[1]), draws)
    count_o = rng.multinomial(others.shape[1], np.full(others.shape[1], 1 / others.shape[1]), draws)
    total = np.einsum("ki,sij,kj->ks", count_m.astype(np.float32), smaller, count_o.astype(np.float32), optimize=True)
    return np.asarray(total, dtype=np.float64) / (members.shape[1] * others.shape[1])


def auc_interval(members: Floats, others: Floats, *, draws: int = 1000, seed: int = 0) -> Interval:
    """AUC, mean over seeds, with a bootstrap interval over images and seeds."""
    means = _seed_means(_auc_draws(members, others, draws, np.random.default_rng(seed)), seed, "of")
    value = float(np.mean([auc(m, o) for m, o in zip(members, others, strict=True)]))
    return _percentiles(value, means, len(members))


def auc_difference(
    of: tuple[Floats, Floats], against: tuple[Floats, Floats], *, draws: int = 1000, seed: int = 0
) -> Interval:
    """Difference of two mean AUCs (members, others); paired: both on the same resampled images.

    Seeds are resampled too, each model's own; a bootstrap of S seeds is too narrow by sqrt((S - 1) / S), which is set
    right. Efron, Annals of Statistics 7 (1979).
    """
    one = _seed_means(_auc_draws(*of, draws, np.random.default_rng(seed)), seed, "of")
    other = _seed_means(_auc_draws(*against, draws, np.random.default_rng(seed)), seed, "against")
    values = [np.mean([auc(m, o) for m, o in zip(*pair, strict=True)]) for pair in (of, against)]
    return _percentiles(float(values[0] - values[1]), one - other, len(of[0]))


def _seed_means(auc_KS: Floats, seed: int, purpose: str) -> Floats:
    """Mean over resampled seeds, (K,)."""
    draws, num = auc_KS.shape
    mean_K = auc_KS.mean(1)
    if num == 1:
        return mean_K
    rng = np.random.default_rng([seed, len(purpose)])
    chosen_KS = np.take_along_axis(auc_KS, rng.integers(num, size=(draws, num)), axis=1)
    return np.asarray(mean_K + np.sqrt(num / (num - 1)) * (chosen_KS.mean(1) - mean_K))


def _percentiles(value: float, draws_K: Floats, num: int) -> Interval:
    low, high = np.quantile(draws_K, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), num)
