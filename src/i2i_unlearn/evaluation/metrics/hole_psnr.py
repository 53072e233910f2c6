"""Peak signal-to-noise ratio in the hole, of the set's mean squared error: 10 log10(1 / mean_i MSE_i).

MSE_i is the mean over hidden pixels and channels of image i, pixels in [0, 1]. Visible pixels are pasted back by every
model and would only dilute the number as the hole shrinks, so they do not enter.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from i2i_unlearn.evaluation.metrics.bootstrap import Floats, Statistic, weighted_mean
from i2i_unlearn.evaluation.metrics.observations import Array, Observations

SMALLEST_ERROR = 1e-10
"""Equal images score 100 dB, since JSON has no infinity."""


def hole_error(images_BCHW: Tensor, others_BCHW: Tensor, visible_BHW: Tensor) -> Tensor:
    """MSE_i of images in [-1, 1], (B,), in the unit of [0, 1] pixels. Every image must hide a pixel."""
    hidden_B1HW = ~visible_BHW.unsqueeze(1)
    squared_B = (((images_BCHW - others_BCHW) / 2).square() * hidden_B1HW).sum((1, 2, 3))
    return squared_B / (hidden_B1HW.sum((1, 2, 3)) * images_BCHW.shape[1])


def psnr_db(error: Floats) -> Floats:
    """Decibels of mean squared errors of [0, 1] pixels; at most 100."""
    return np.asarray(-10 * np.log10(np.maximum(error, SMALLEST_ERROR)))


def of_errors(error_N: Array) -> Statistic:
    """The PSNR of the mean of `error_N`."""
    mean = weighted_mean(error_N)
    return Statistic(lambda counts_KN: psnr_db(mean(counts_KN)))


def of_some(error_N: Array, places: NDArray[np.int64]) -> Statistic:
    """The PSNR of some of the images."""
    whole = of_errors(error_N[places])
    return Statistic(lambda counts_KN: whole.of(counts_KN[:, places]), num_images=len(places))


def statistic(seen: Observations) -> Statistic:
    """Completed images against their originals."""
    return of_errors(seen.hole_error_N)
