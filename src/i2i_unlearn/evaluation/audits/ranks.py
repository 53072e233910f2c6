"""Rank of an image among never-seen ones by a number of a model's answer, and how unlearning moves it (METHOD, 13).

    rank    r_M(x) = (#below + #equal / 2) / n        among the n never-seen images of x's class, answered by M too
    shift   r_M(x) - r_original(x), mean over images

Images and never-seen images are resampled independently, and the ranks of both models computed anew in each draw.
Shape letters: N images, P never-seen images, K draws.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from i2i_unlearn.evaluation.audits.two_sets import TwoSets
from i2i_unlearn.evaluation.metrics.bootstrap import Draws, Floats

FEWEST_OF_CLASS = 50
"""Of fewer never-seen images of its class an image is ranked among those of all classes."""
_CENTRE = 0.5


@dataclass(frozen=True)
class Comparison:
    """Which never-seen images each image is ranked among."""

    among_NP: NDArray[np.bool_]
    pooled: int
    """Number of images whose own class has fewer than `FEWEST_OF_CLASS` never-seen images: ranked among all of them."""


def same_class(
    labels_N: NDArray[np.str_], never_seen_P: NDArray[np.str_], further_P: NDArray[np.bool_] | None = None
) -> Comparison:
    """Rank each image among the never-seen images of its own class, among all where these are too few.

    `further_P` marks images that were added for their class alone: those are no part of "all".
    """
    alike_NP = labels_N[:, None] == never_seen_P[None, :]
    few_N = alike_NP.sum(1) < FEWEST_OF_CLASS
    all_P = np.ones(len(never_seen_P), dtype=bool) if further_P is None else ~further_P
    return Comparison(np.where(few_N[:, None], all_P, alike_NP), int(few_N.sum()))


def halves(labels_P: NDArray[np.str_], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two random halves of never-seen images, each class split evenly; both in order."""
    first: list[int] = []
    for label in np.unique(labels_P):
        places = np.flatnonzero(labels_P == label)
        first += rng.permutation(places)[: (len(places) + len(first) % 2) // 2].tolist()
    chosen = np.sort(np.array(first, dtype=np.int64))
    return chosen, np.setdiff1d(np.arange(len(labels_P)), chosen)


@dataclass(frozen=True)
class Ranked:
    """One number of one model's answers: the mean rank, in each draw."""

    below_NP: Floats
    """1 where the never-seen image has the smaller number, 1/2 where equal, 0 elsewhere or where it is not compared."""
    among_NP: Floats

    def mean_rank(self, weights_KN: Floats, weights_KP: Floats) -> Floats:
        """Mean over images of their rank (K,); where none of an image's class was drawn, it counts as the centre."""
        number_KN = weights_KP @ self.among_NP.T
        rank_KN = np.divide(
            weights_KP @ self.below_NP.T, number_KN, out=np.full_like(number_KN, _CENTRE), where=number_KN > 0
        )
        return np.asarray((weights_KN * rank_KN).sum(1) / weights_KN.sum(1))


def ranked(values_N: Floats, never_seen_P: Floats, comparison: Comparison) -> Ranked:
    """Compare each image's number with those of the never-seen images."""
    below_NP = (never_seen_P < values_N[:, None]) + 0.5 * (never_seen_P == values_N[:, None])
    return Ranked(below_NP * comparison.among_NP, comparison.among_NP.astype(np.float64))


def rank_and_shift(own: Ranked, original: Ranked, drawn: TwoSets) -> tuple[Draws, Draws]:
    """Mean rank under a model, and how far it is from that under the original."""
    rank = drawn.draws(own.mean_rank)
    return rank, rank.minus(drawn.draws(original.mean_rank))
