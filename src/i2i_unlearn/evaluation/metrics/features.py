"""What is kept of a set's features: rows while there are few images, running sums where a Frechet distance is reliable.

So memory stops growing with the number of images: a kernel distance needs rows, but is taken of at most `MOST_IMAGES`
images; mean and covariance are all that a Frechet distance needs. Sums of products are symmetric, so that half of them
is kept: 6.9 MB for 1280 features, and a thousand rows of these are 5.1 MB.
Shape letters: B batch, N images, R kept rows, D features.
"""

from mmap import mmap

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]
_BLOCK = 64  # rows of products in one multiplication; fewer would save 2 % of the memory and cost a third more time


def is_frechet_reliable(num_images: int, num_features: int) -> bool:
    """Whether there are at least twice as many images as features."""
    return num_images >= 2 * num_features


class FeatureSums:
    """Sums of features and of their products, in float64."""

    def __init__(self, num_features: int) -> None:
        self.num_images = 0
        self.sum_D = torch.zeros(num_features, dtype=torch.float64)
        self._starts = range(0, num_features, _BLOCK)
        shapes = [(min(_BLOCK, num_features - start), num_features - start) for start in self._starts]
        sizes = [rows * columns for rows, columns in shapes]
        # A mapping of its own goes back to the system when the set is done; what malloc gave may stay with the process.
        self._products = torch.frombuffer(mmap(-1, 8 * sum(sizes)), dtype=torch.float64)
        parts = self._products.split(sizes)
        self._blocks = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        """Rows from `start` on of the products; their columns from `start` on."""

    def add(self, features_BD: Tensor) -> None:
        """Add the features of the next images."""
        rows_BD = features_BD.double()
        self.num_images += len(rows_BD)
        self.sum_D += rows_BD.sum(0)
        for start, block in zip(self._starts, self._blocks, strict=True):
            block.addmm_(rows_BD[:, start : start + len(block)].T, rows_BD[:, start:])

    @property
    def mean_D(self) -> Tensor:
        """Mean features."""
        return self.sum_D / self.num_images

    def covariance(self, order_D: NDArray[np.integer] | None = None) -> NDArray[np.float64]:
        """Covariance (D, D) of the features, of those in the order `order_D` if given; column by column in memory."""
        num_features = len(self.sum_D)
        place_D = np.arange(num_features)
        if order_D is not None:
            place_D[order_D] = np.arange(num_features)
        sum_D, mean_D = self.sum_D.numpy(), self.mean_D.numpy()
        found_DD = np.empty((num_features, num_features), order="F")
        for start, block in zip(self._starts, self._blocks, strict=True):
            rows, columns = place_D[start : start + len(block)], place_D[start:]
            part = block.numpy() - np.outer(mean_D[start : start + len(block)], sum_D[start:])
            part /= self.num_images - 1
            found_DD[np.ix_(rows, columns)] = part
            found_DD[np.ix_(columns, rows)] = part.T
        return found_DD


class FeatureRows:
    """The features of some images, in float32."""

    def __init__(self, kept_N: NDArray[np.int64], num_features: int) -> None:
        self._kept_N = kept_N
        self.rows_RD: Array = np.empty((len(kept_N), num_features), dtype=np.float32)
        self._count = 0

    def add(self, features_BD: Tensor) -> None:
        """Keep the wanted ones of the next images' features."""
        first, last = np.searchsorted(self._kept_N, (self._count, self._count + len(features_BD)))
        self.rows_RD[first:last] = features_BD.numpy()[self._kept_N[first:last] - self._count]
        self._count += len(features_BD)


def keep_features(num_images: int, num_features: int, kept_N: NDArray[np.int64]) -> FeatureRows | FeatureSums:
    """What to keep of this many images: sums of all, or the rows of those that `kept_N` names in order."""
    if is_frechet_reliable(num_images, num_features):
        return FeatureSums(num_features)
    return FeatureRows(kept_N, num_features)


def sums_of(features_ND: NDArray[np.floating]) -> FeatureSums:
    """The sums of features that are all there."""
    sums = FeatureSums(features_ND.shape[1])
    sums.add(torch.from_numpy(features_ND))
    return sums
