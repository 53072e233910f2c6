"""Closeness to the reference: PSNR in the hole between a model's outputs and the retrained model's outputs.

A matching score against the originals can hide a wrong behaviour: two models may miss the truth by as much and yet
paint different things. Same formula as `hole_psnr`.
"""

from i2i_unlearn.evaluation.findings import REFERENCE
from i2i_unlearn.evaluation.metrics.bootstrap import Statistic
from i2i_unlearn.evaluation.metrics.hole_psnr import of_errors
from i2i_unlearn.evaluation.metrics.observations import Observations


def statistic(seen: Observations) -> Statistic | None:
    """Against the first reference; None for that reference itself, or where there is none."""
    error_N = seen.reference_errors.get(REFERENCE)
    return None if error_N is None else of_errors(error_N)
