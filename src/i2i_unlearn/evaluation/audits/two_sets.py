"""Statistics of two sets of images, members and others: resampling, and how well a score tells one from the other.

    ROC     share of members above a threshold (TPR) against the share of others above it (FPR), for all thresholds
    AUC     area below it = P(score of a member > score of another) + 1/2 P(equal)   (Hanley & McNeil, Radiology 1982)

Each set is resampled on its own: another draw of images would have had other members and other non-members. An image
that was drawn twice has weight 2.
Shape letters: K draws, N members, P others, T thresholds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from i2i_unlearn.evaluation.metrics.bootstrap import LEVEL, Draws, Floats

_BLOCK = 50  # draws at once: memory stays at some ten megabytes for a thousand images
_ROUNDING = 1e-12

Statistic = Callable[[Floats, Floats], Floats]
"""Weights of members (K, N) and of others (K, P) -> values (K,)."""


@dataclass(frozen=True)
class TwoSets:
    """How often each image of the two sets was drawn."""

    member_KN: Floats
    other_KP: Floats

    def draws(self, of: Statistic) -> Draws:
        """The statistic of the images as they are, and of each draw."""
        value = of(np.ones((1, self.member_KN.shape[1])), np.ones((1, self.other_KP.shape[1])))
        starts = range(0, len(self.member_KN), _BLOCK)
        samples = [of(self.member_KN[i : i + _BLOCK], self.other_KP[i : i + _BLOCK]) for i in starts]
        return Draws(float(value[0]), np.concatenate(samples))


def resample(num_members: int, num_others: int, num_draws: int, rng: np.random.Generator) -> TwoSets:
    """Draw from each set as many as it has, with replacement."""
    member_KN, other_KP = (
        rng.multinomial(num, np.full(num, 1 / num), size=num_draws).astype(np.float64)
        for num in (num_members, num_others)
    )
    return TwoSets(member_KN, other_KP)


def roc(member_N: Floats, other_P: Floats, weights_KN: Floats, weights_KP: Floats) -> tuple[Floats, Floats]:
    """FPR and TPR (K, T) of scores where higher means member; both begin at 0 and end at 1."""
    scores = np.concatenate((member_N, other_P))
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # equal scores pass a threshold together
    zeros_K1 = np.zeros((len(weights_KN), 1))

    def rate(weights: Floats, total: Floats) -> Floats:
        return np.hstack((zeros_K1, weights[:, order].cumsum(1)[:, ends] / total.sum(1, keepdims=True)))

    tpr_KT = rate(np.hstack((weights_KN, np.zeros_like(weights_KP))), weights_KN)
    fpr_KT = rate(np.hstack((np.zeros_like(weights_KN), weights_KP)), weights_KP)
    return fpr_KT, tpr_KT


def auc(member_N: Floats, other_P: Floats) -> Statistic:
    """Area under the ROC curve of these scores; 1 = every member is above every other, 1/2 = no better than a guess."""

    def of(weights_KN: Floats, weights_KP: Floats) -> Floats:
        fpr_KT, tpr_KT = roc(member_N, other_P, weights_KN, weights_KP)
        return np.asarray(np.trapezoid(tpr_KT, fpr_KT, axis=1))

    return of


@dataclass(frozen=True)
class Found:
    """Members found at one threshold: those whose score is above it."""

    threshold: float
    tpr: float
    low: float
    """Ends of the exact 95 % interval of `tpr`."""
    high: float
    fpr: float
    """Share of others above the threshold."""


def found_at(most_fpr: float, member_N: Floats, other_P: Floats) -> Found:
    """Members found by the lowest threshold that takes at most `most_fpr` of the others for members."""
    allowed = int(most_fpr * len(other_P) + _ROUNDING)
    threshold = np.sort(other_P)[len(other_P) - 1 - allowed]
    num = int((member_N > threshold).sum())
    low, high = clopper_pearson(num, len(member_N))
    return Found(float(threshold), num / len(member_N), low, high, float((other_P > threshold).mean()))


def clopper_pearson(num: int, of: int) -> tuple[float, float]:
    """Exact 95 % interval of a share (Clopper and Pearson, Biometrika 1934)."""
    from scipy.stats import beta

    tail = (1 - LEVEL) / 2
    low = float(beta.ppf(tail, num, of - num + 1)) if num else 0.0
    return low, float(beta.ppf(1 - tail, num + 1, of - num)) if num < of else 1.0


def mean_difference(member_N: Floats, other_P: Floats) -> Statistic:
    """Mean over members less mean over others."""

    def of(weights_KN: Floats, weights_KP: Floats) -> Floats:
        of_members = weights_KN @ member_N / weights_KN.sum(1)
        return np.asarray(of_members - weights_KP @ other_P / weights_KP.sum(1))

    return of


def curve(member_N: Floats, other_P: Floats) -> dict[str, list[float]]:
    """The ROC curve to be drawn: its corners."""
    fpr_1T, tpr_1T = roc(member_N, other_P, np.ones((1, len(member_N))), np.ones((1, len(other_P))))
    points = np.stack((fpr_1T[0], tpr_1T[0]), 1)
    before, after = np.diff(points[:-1], axis=0), np.diff(points[1:], axis=0)
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]  # elsewhere the line goes straight on
    corners = points[np.concatenate(([True], turns, [True]))]
    return {"fpr": corners[:, 0].round(4).tolist(), "tpr": corners[:, 1].round(4).tolist()}
