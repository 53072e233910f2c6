"""What is kept of a set's features: every row while there are few, running sums where a Frechet distance is reliable.

So memory stops growing with the number of images: a kernel distance needs the rows, but is taken of few images only;
mean and covariance are all that a Frechet distance needs.
Shape letters: B batch, N images, D features.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]


def is_frechet_reliable(num_images: int, num_features: int) -> bool:
    """Whether there are at least twice as many images as features."""
    return num_images >= 2 * num_features


class FeatureSums:
    """Sums of features and of their products, in float64."""

    def __init__(self, num_features: int) -> None:
        self.num_images = 0
        self.sum_D = torch.zeros(num_features, dtype=torch.float64)
        self.products_DD = torch.zeros(num_features, num_features, dtype=torch.float64)

    def add(self, features_BD: Tensor) -> None:
        """Add the features of the next images."""
        rows_BD = features_BD.double()
        self.num_images += len(rows_BD)
        self.sum_D += rows_BD.sum(0)
        self.products_DD.addmm_(rows_BD.T, rows_BD)

    @property
    def mean_D(self) -> Tensor:
        """Mean features."""
        return self.sum_D / self.num_images


class FeatureRows:
    """All features, in float32."""

    def __init__(self, num_images: int, num_features: int) -> None:
        self.rows_ND: Array = np.empty((num_images, num_features), dtype=np.float32)
        self._count = 0

    def add(self, features_BD: Tensor) -> None:
        """Add the features of the next images."""
        self.rows_ND[self._count : self._count + len(features_BD)] = features_BD.numpy()
        self._count += len(features_BD)


def keep_features(num_images: int, num_features: int) -> FeatureRows | FeatureSums:
    """What to keep of so many images."""
    if is_frechet_reliable(num_images, num_features):
        return FeatureSums(num_features)
    return FeatureRows(num_images, num_features)


def sums_of(features_ND: NDArray[np.floating]) -> FeatureSums:
    """The sums of features that are all there."""
    sums = FeatureSums(features_ND.shape[1])
    sums.add(torch.from_numpy(features_ND))
    return sums
