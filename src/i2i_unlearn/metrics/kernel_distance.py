"""Kernel distance (KID) between completed images and their originals, for sets too small for a Frechet distance.

Binkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", ICLR 2018, arXiv:1801.01401; the estimator is
Gretton et al., "A Kernel Two-Sample Test", JMLR 13 (2012), eq. 4:

    KID = 1 / (n (n - 1)) sum_{i != j} h_ij      h_ij = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i)
    k(a, b) = (a . b / D + 1)^3

x_i are the features of image i, y_i those of its completion. They come in pairs, so the pairs (i, i) are left out of
the mixed terms too: torchmetrics, made for independent sets, keeps them, and is low by 2 (mean_i k(x_i, y_i) -
mean_ij k(x_i, y_j)) / n here. It also draws from the global random state and gives no interval; hence our own few
lines, with torchmetrics as the test's oracle. Unbiased, so it may be slightly negative; 0 exactly for identical sets.

With counts w of a resampling the mean runs over pairs of different images, weighing w_i w_j: copies of one image are no
pair, or every resampling would look farther than the sample.
Shape letters: K draws, N images, D features.
"""

import numpy as np

from i2i_unlearn.metrics.bootstrap import Floats, Statistic
from i2i_unlearn.metrics.frechet_distance import is_frechet_reliable
from i2i_unlearn.metrics.observations import Array, Observations

FEWEST_FOR_INTERVAL = 10
"""Resampling fewer images says little, and may draw one image alone, which has no pairs."""


def polynomial_kernel(one_ND: Floats, other_ND: Floats) -> Floats:
    """The kernel k of each pair of rows."""
    return np.asarray((one_ND @ other_ND.T / one_ND.shape[1] + 1) ** 3)


def paired_kernel(original_ND: Array, completed_ND: Array) -> Floats:
    """h_ij with a zero diagonal, (N, N)."""
    x, y = original_ND.astype(np.float64), completed_ND.astype(np.float64)
    mixed_NN = polynomial_kernel(x, y)
    h_NN = polynomial_kernel(x, x) + polynomial_kernel(y, y) - mixed_NN - mixed_NN.T
    np.fill_diagonal(h_NN, 0.0)
    return h_NN


def of_kernel(h_NN: Floats) -> Statistic:
    """The weighted mean of `h_NN` (zero diagonal) over pairs of different images."""

    def of(counts_KN: Floats) -> Floats:
        pairs_K = counts_KN.sum(1) ** 2 - (counts_KN**2).sum(1)
        return np.asarray(np.einsum("kn,kn->k", counts_KN @ h_NN, counts_KN) / pairs_K)

    return Statistic(of, has_interval=len(h_NN) >= FEWEST_FOR_INTERVAL)


def statistic(seen: Observations) -> Statistic | None:
    """None where there are enough images for a Frechet distance."""
    if is_frechet_reliable(*seen.features_ND.shape):
        return None
    return of_kernel(paired_kernel(seen.original_features_ND, seen.features_ND))
