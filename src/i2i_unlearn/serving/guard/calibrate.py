"""From the similarities of ordinary images to a threshold, and the filter's rates at it."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from i2i_unlearn.serving.guard.store import Rate

CONFIDENCE = 0.95


def threshold_for(similarities: NDArray[np.float64], false_alarms: float) -> float:
    """The lowest threshold at which at most `false_alarms` of these ordinary images are refused (refused = above it).

    With few images it is the largest similarity: 50 images cannot show a rate of 1 in 100.
    """
    allowed = math.floor(false_alarms * len(similarities))
    return float(np.sort(similarities)[len(similarities) - 1 - allowed])


def rate(similarities: NDArray[np.float64], threshold: float) -> Rate:
    """How many of these images are refused."""
    refused, total = int((similarities > threshold).sum()), len(similarities)
    interval = binomtest(refused, total).proportion_ci(CONFIDENCE, method="exact")
    return Rate(refused / total, float(interval.low), float(interval.high), total)
