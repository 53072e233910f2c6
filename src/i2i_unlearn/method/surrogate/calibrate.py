"""The ridge at which a surrogate memorises as much as the teacher does.

    gap = 10 log10(error on images never trained on / error on training images)     in dB

A small ridge memorises (large gap), a large one does not: the gap falls as the ridge grows, and bisection finds where
it equals the teacher's. Errors are mean losses: no retrained model is used anywhere.
"""

import math
from collections.abc import Callable

LOWEST, HIGHEST = -6.0, 4.0  # powers of ten; features of a kernel with k(u, u) = 2 need nothing outside
NUM_HALVINGS = 14  # to a factor of 1.002


def gap_db(trained: float, unseen: float) -> float:
    """How much better training images are completed than unseen ones, in dB; both errors above 0."""
    return 10 * math.log10(unseen / trained)


def ridge_for(wanted_db: float, gap_at: Callable[[float], float]) -> float:
    """The ridge in [1e-6, 1e4] whose gap is `wanted_db`, or the end of the range that is nearest to it."""
    low, high = LOWEST, HIGHEST
    for _ in range(NUM_HALVINGS):
        middle = (low + high) / 2
        if gap_at(10**middle) > wanted_db:
            low = middle
        else:
            high = middle
    return float(10 ** ((low + high) / 2))
