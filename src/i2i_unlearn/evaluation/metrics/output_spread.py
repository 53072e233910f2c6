"""Spread of a model's outputs over images: standard deviation over images of each hole pixel, mean over hole pixels.

Near 0 the model answers every image with the same picture, a grey blur: a forget score can look right and yet be
reached in a way that no retrained model would. Pixels in [0, 1]; at most `MOST_PIXELS` of them, of at most
`MOST_IMAGES` images, both drawn once for all models.
Shape letters: K draws, N images, P pixels.
"""

import numpy as np
from numpy.typing import NDArray

from i2i_unlearn.evaluation.metrics.bootstrap import Floats, Statistic
from i2i_unlearn.evaluation.metrics.observations import Array, Observations, of_sampled

MOST_PIXELS = 256
"""More pixels would change the mean in its third digit only: neighbours are alike. The demo's hole has 196."""


def of_pixels(pixels_NP: Array, hidden_NP: NDArray[np.bool_]) -> Statistic:
    """A pixel's deviation is taken over the images that hide it; a pixel that fewer than two hide does not count."""
    hidden = hidden_NP.astype(np.float32)
    # Centred first: float32 then suffices for the sum of squares.
    centre_P = (pixels_NP * hidden).sum(0) / np.maximum(hidden.sum(0), 1)
    centred = (pixels_NP - centre_P) * hidden
    squared = centred**2

    def of(counts_KN: Floats) -> Floats:
        counts = counts_KN.astype(np.float32)
        number_KP = counts @ hidden
        mean_KP = counts @ centred / np.maximum(number_KP, 1)
        variance_KP = counts @ squared / np.maximum(number_KP, 1) - mean_KP**2
        counted_KP = number_KP >= 2  # noqa: PLR2004  one value has no spread
        deviation_KP = np.sqrt(np.maximum(variance_KP, 0)) * counted_KP
        return np.asarray(deviation_KP.sum(1) / np.maximum(counted_KP.sum(1), 1), dtype=np.float64)

    return Statistic(of)


def statistic(seen: Observations) -> Statistic:
    """The spread of the completed images of which pixels are kept."""
    return of_sampled(of_pixels(seen.pixels_NP, seen.hidden_NP), seen.sampled_N)
