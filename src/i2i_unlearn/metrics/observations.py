"""What is seen of one model on one set of images: everything that metrics are computed from.

Shape letters: N images, D features, P sampled hole pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Observations:
    """One row an image, in the same order for every model."""

    hole_error_N: Array
    """Mean squared error in the hole between completed image and original; pixels in [0, 1]."""
    reference_error_N: Array | None
    """The same between this model's output and the reference's; None for the reference, or where there is none."""
    own_loss_N: Array
    """The loss that the family is trained with."""
    features_ND: Array
    """The extractor's features of the completed image."""
    original_features_ND: Array
    """The extractor's features of the original; the same array for every model."""
    pixels_NP: Array
    """The completed image's values at some fixed pixels, in [0, 1]."""
    hidden_NP: NDArray[np.bool_]
    """Whether each of these pixels is hidden in this image; the same array for every model."""
