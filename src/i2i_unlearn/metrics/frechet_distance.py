"""Frechet distance (FD) between completed images and their originals, in an extractor's features.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017, arXiv:1706.08500:

    FD = || m_x - m_y ||^2 + trace(S_x + S_y - 2 (S_x S_y)^(1/2))       m mean, S covariance

Only with InceptionV3's features and weights is it the FID; the name tells the extractor. With fewer images than twice
the feature size the covariances are too poor (below one time: singular), and `kernel_distance` takes its place. It has
no interval: FD grows when images repeat, so resampling would show a distance that is too large, and honest corrections
cost hundreds of decompositions.

torchmetrics gives the same (the test's oracle), but its sums of the originals would be kept once for each model and
each twice, and its import and its decomposition of a matrix that is not symmetric cost more than all else that happens
after the last image. S_x S_y has the eigenvalues of the symmetric B^T S_y B, B = V diag(w)^(1/2), S_x = V diag(w) V^T.
Shape letters: N images, D features.
"""

import numpy as np
import torch
from torch import Tensor

from i2i_unlearn.metrics.bootstrap import Floats, Statistic
from i2i_unlearn.metrics.features import FeatureSums, is_frechet_reliable, sums_of
from i2i_unlearn.metrics.observations import Observations

__all__ = ["distance_of_sums", "frechet_distance", "is_frechet_reliable", "statistic"]


def distance_of_sums(original: FeatureSums, completed: FeatureSums) -> float:
    """FD of two sets whose features were summed, in float64."""
    trace, half_DD = _half(original)
    y_DD = _covariance(completed)
    trace += float(y_DD.trace())
    product_DD = half_DD.T @ y_DD @ half_DD
    del half_DD, y_DD  # 13 MB each with 1280 features
    shared = torch.linalg.eigvalsh(product_DD).clamp(min=0).sqrt().sum()
    means = (original.mean_D - completed.mean_D).square().sum()
    return float(means) + trace - 2 * float(shared)


def _half(sums: FeatureSums) -> tuple[float, Tensor]:
    """Trace of the covariance, and B."""
    x_DD = _covariance(sums)
    w_D, half_DD = torch.linalg.eigh(x_DD)
    half_DD *= w_D.clamp(min=0).sqrt()  # rounding makes zeros slightly negative
    return float(x_DD.trace()), half_DD


def _covariance(sums: FeatureSums) -> Tensor:
    outer_DD = torch.outer(sums.mean_D, sums.sum_D)
    return outer_DD.neg_().add_(sums.products_DD).div_(sums.num_images - 1)


def frechet_distance(original_ND: Floats, completed_ND: Floats) -> float:
    """FD of two sets whose features are all there."""
    return distance_of_sums(sums_of(original_ND), sums_of(completed_ND))


def statistic(seen: Observations) -> Statistic | None:
    """None where there are too few images."""
    original, completed = seen.original_features, seen.features
    if not isinstance(original, FeatureSums) or not isinstance(completed, FeatureSums):
        return None

    def of(counts_KN: Floats) -> Floats:
        return np.full(len(counts_KN), distance_of_sums(original, completed))

    return Statistic(of, has_interval=False)
