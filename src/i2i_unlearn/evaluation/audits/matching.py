"""Forget images told from never-seen ones of their own class, as ranks.py ranks them: classes differ in difficulty.

    AUC     mean over members of the share of never-seen images of their class with a lower score, ties one half

Where a class has fewer than `FEWEST_OF_CLASS` never-seen images, its members are compared with those of all classes. An
innocent model has 1/2 whatever the mix of classes among the members. With one class it is the plain area under the ROC
curve.
Shape letters: K draws, N members, P others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from i2i_unlearn.evaluation.audits.ranks import FEWEST_OF_CLASS
from i2i_unlearn.evaluation.audits.two_sets import Statistic, auc
from i2i_unlearn.evaluation.metrics.bootstrap import Floats

Places = NDArray[np.int64]
_CENTRE = 0.5


@dataclass(frozen=True)
class Matching:
    """Which others each member is compared with."""

    groups: Sequence[tuple[Places, Places]]
    """Places of members and of others."""
    pooled: int
    """Number of members that are compared with all others because their class has too few."""

    def auc(self, member_N: Floats, other_P: Floats) -> Statistic:
        """Area of these scores, within the groups."""
        if len(self.groups) == 1:
            members, others = self.groups[0]
            return _of_some(auc(member_N[members], other_P[others]), members, others)
        areas = [
            (members, _of_some(auc(member_N[members], other_P[others]), members, others))
            for members, others in self.groups
        ]

        def of(weights_KN: Floats, weights_KP: Floats) -> Floats:
            parts = [weights_KN[:, members].sum(1) * area(weights_KN, weights_KP) for members, area in areas]
            return np.asarray(np.sum(parts, axis=0) / weights_KN.sum(1))

        return of


def all_together(num_members: int, num_others: int) -> Matching:
    """Every member is compared with every other."""
    return Matching([(np.arange(num_members), np.arange(num_others))], 0)


def by_class(labels_N: NDArray[np.str_], labels_P: NDArray[np.str_]) -> Matching:
    """Members with the others of their class; those of classes with too few others, with all."""
    groups, few = [], np.zeros(len(labels_N), dtype=bool)
    for label in np.unique(labels_N):
        others = np.flatnonzero(labels_P == label)
        if len(others) < FEWEST_OF_CLASS:
            few |= labels_N == label
        else:
            groups.append((np.flatnonzero(labels_N == label), others))
    if few.any():
        groups.append((np.flatnonzero(few), np.arange(len(labels_P))))
    return Matching(groups, int(few.sum()))


def _of_some(area: Statistic, members: Places, others: Places) -> Statistic:
    """An area that is given the weights of all; where none of a side was drawn, it is the centre."""

    def of(weights_KN: Floats, weights_KP: Floats) -> Floats:
        own_KN, other_KP = weights_KN[:, members], weights_KP[:, others]
        drawn_K = own_KN.any(1) & other_KP.any(1)
        found_K = np.full(len(weights_KN), _CENTRE)
        if drawn_K.any():
            found_K[drawn_K] = area(own_KN[drawn_K], other_KP[drawn_K])
        return found_K

    return of
