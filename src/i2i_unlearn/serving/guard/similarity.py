"""How similar an image is to one of the forget set: the largest cosine of features, around their mean.

Features of a network are all positive, so any two images have a large cosine; around the mean of ordinary images the
cosines spread. Shape letters: B batch, N forget images, C channels, H, W pixels, D features.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from i2i_unlearn.models.extractors import Extractor
from i2i_unlearn.models.pixels import to_float

CHUNK = 100

Pixels = NDArray[np.uint8]


def features_of(extractor: Extractor, images_BHWC: Pixels) -> Tensor:
    """Features (B, D) of uint8 images."""
    chunks = [
        extractor(
            to_float(torch.from_numpy(np.ascontiguousarray(images_BHWC[start : start + CHUNK])).permute(0, 3, 1, 2))
        )
        for start in range(0, len(images_BHWC), CHUNK)
    ]
    return torch.cat(chunks) if chunks else torch.empty(0, extractor.num_features)


def around(features_BD: Tensor, mean_D: Tensor) -> Tensor:
    """Directions from the mean, of length 1 (or 0)."""
    return F.normalize(features_BD - mean_D, dim=1)


def largest_cosine(directions_BD: Tensor, forget_ND: Tensor) -> NDArray[np.float64]:
    """For each image the cosine with the nearest forget image, (B,)."""
    return (directions_BD @ forget_ND.T).amax(1).double().numpy()
