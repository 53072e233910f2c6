"""Frechet distance (FD) between completed images and their originals, in an extractor's features.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017, arXiv:1706.08500:

    FD = || m_x - m_y ||^2 + trace(S_x + S_y - 2 (S_x S_y)^(1/2))       m mean, S covariance

Only with InceptionV3's features and weights is it the FID; the name tells the extractor. With fewer images than twice
the feature size the covariances are too poor (below one time: singular), and `kernel_distance` takes its place. It has
no interval: FD grows when images repeat, so resampling would show a distance that is too large, and honest corrections
cost hundreds of decompositions.

torchmetrics gives the same (the test's oracle), but its sums of the originals would be kept once for each model and
each twice, and its import and its decomposition of a matrix that is not symmetric cost more than all else that happens
after the last image. S_x S_y has the eigenvalues of the symmetric L^T S_y L, S_x = L L^T: a Cholesky factor, with
pivots because S_x may be singular, that needs no memory besides S_x. LAPACK and BLAS work in place, so that all this
takes two matrices of D x D, less than a batch in the models.
Shape letters: N images, D features.
"""

import numpy as np
from numpy.typing import NDArray

from i2i_unlearn.evaluation.metrics.bootstrap import Floats, Statistic
from i2i_unlearn.evaluation.metrics.features import FeatureSums, is_frechet_reliable, sums_of
from i2i_unlearn.evaluation.metrics.observations import Observations

__all__ = ["distance_of_sums", "frechet_distance", "is_frechet_reliable", "statistic"]


def distance_of_sums(original: FeatureSums, completed: FeatureSums) -> float:
    """FD of two sets whose features were summed, in float64."""
    from scipy.linalg import eigvalsh  # 20 MB of code, so not before it is needed
    from scipy.linalg.blas import dtrmm

    x_trace, factor_DD, order_D = _factor(original)
    y_DD = completed.covariance(order_D)
    trace = x_trace + float(y_DD.trace())
    product_DD = dtrmm(1.0, factor_DD, y_DD, side=0, lower=1, trans_a=1, overwrite_b=1)
    product_DD = dtrmm(1.0, factor_DD, product_DD, side=1, lower=1, overwrite_b=1)
    eigenvalues_D = eigvalsh(product_DD, overwrite_a=True, check_finite=False)
    shared = np.sqrt(eigenvalues_D.clip(min=0)).sum()  # rounding makes zeros slightly negative
    means = (original.mean_D - completed.mean_D).square().sum()
    return float(means) + trace - 2 * float(shared)


def _factor(sums: FeatureSums) -> tuple[float, Floats, NDArray[np.intp]]:
    """Trace of the covariance S, and L and an order of features such that S = L L^T in that order."""
    from scipy.linalg.lapack import dpstrf

    x_DD = sums.covariance()
    trace = float(x_DD.trace())
    factor_DD, pivots_D, rank, _ = dpstrf(x_DD, lower=1, overwrite_a=1)
    factor_DD[rank:, rank:] = 0  # what no rank is left for
    return trace, factor_DD, pivots_D - 1


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
