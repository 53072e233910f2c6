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
pair, or every resampling would look farther than the sample. Of more than a thousand images a random thousand is taken,
the published subset size, since kernels of more would be what an evaluation needs most memory for.
Shape letters: K draws, N images, D features.
"""

import numpy as np

from i2i_unlearn.evaluation.metrics.bootstrap import Floats, Statistic
from i2i_unlearn.evaluation.metrics.features import Array, FeatureRows
from i2i_unlearn.evaluation.metrics.observations import Observations, of_sampled

FEWEST_FOR_INTERVAL = 10
"""Resampling fewer images says little, and may draw one image alone, which has no pairs."""
_ROWS = 256  # of the kernel at once, so that little memory is needed besides the result


def polynomial_kernel(one_ND: Floats, other_ND: Floats) -> Floats:
    """The kernel k of each pair of rows."""
    inner_NN = one_ND @ other_ND.T
    inner_NN /= one_ND.shape[1]
    inner_NN += 1
    return np.asarray(inner_NN * inner_NN * inner_NN)  # in a tenth of the time that ** 3 takes


def paired_kernel(original_ND: Array, completed_ND: Array) -> Floats:
    """h_ij with a zero diagonal, (N, N). It is symmetric: computed for j >= i, block by block, and mirrored."""
    x, y = original_ND.astype(np.float64), completed_ND.astype(np.float64)
    h_NN = np.empty((len(x), len(x)))
    for start in range(0, len(x), _ROWS):
        rows, onwards = slice(start, start + _ROWS), slice(start, None)
        h = polynomial_kernel(x[rows], x[onwards]) + polynomial_kernel(y[rows], y[onwards])
        h -= polynomial_kernel(x[rows], y[onwards])
        h -= polynomial_kernel(y[rows], x[onwards])
        h_NN[rows, onwards] = h
        h_NN[onwards, rows] = h.T
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
    original, completed = seen.original_features, seen.features
    if not isinstance(original, FeatureRows) or not isinstance(completed, FeatureRows):
        return None
    return of_sampled(of_kernel(paired_kernel(original.rows_RD, completed.rows_RD)), seen.rows_N)
