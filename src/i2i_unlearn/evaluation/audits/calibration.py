"""Calibrated membership: each image's loss against what models lose on it that never saw it (METHOD section 12.2).

    s(x) = mean_i log l_Ri(x) - log l_A(x)      A attacked model, R_i references, l loss averaged over masks and draws

The family of RMIA and BASE (IAM repository, arXiv:2506.06112): an image that is easy for every model no longer counts
as remembered. References alone calibrate, never a model that saw the images, and no reference calibrates itself: as
attacked model it is calibrated by the others, and a single one has no score.

Shape letters: N images.
"""

from collections.abc import Mapping

import numpy as np

from i2i_unlearn.evaluation.findings import is_reference
from i2i_unlearn.evaluation.metrics.bootstrap import Floats

NUM_WORST = 20


def calibrated(log_losses: Mapping[str, Floats]) -> dict[str, Floats]:
    """Score of each image (N,) by attacked model, of logarithms of losses by model; higher = more likely trained on.

    A model without a reference other than itself is left out.
    """
    found = {}
    for name, own_N in log_losses.items():
        others = [log_N for other, log_N in log_losses.items() if is_reference(other) and other != name]
        if others:
            found[name] = np.mean(others, axis=0) - own_N
    return found


def worst(scores_N: Floats) -> list[int]:
    """Places of the images with the highest scores, highest first; equal ones in order."""
    return [int(place) for place in np.argsort(-scores_N, kind="stable")[:NUM_WORST]]
