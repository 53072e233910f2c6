"""Classifier score of completed images; with InceptionV3, the Inception Score. What it is: `class_sums`."""

import numpy as np

from i2i_unlearn.evaluation.metrics.bootstrap import Floats, Statistic
from i2i_unlearn.evaluation.metrics.observations import Observations


def statistic(seen: Observations) -> Statistic | None:
    """None where the extractor has no classifier."""
    classes = seen.classes
    if classes is None:
        return None

    def of(counts_KN: Floats) -> Floats:
        return np.full(len(counts_KN), classes.score())

    return Statistic(of, has_interval=False)
