"""A Frechet distance for any number of images, which the product does not give but the paper's table wants.

Shape letters: N images, D features.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def frechet(original_ND: Floats, completed_ND: Floats) -> float:
    """FD as evaluation/metrics/frechet_distance.py has it, in a tenth of its time and for any number of images.

    trace((S_x S_y)^(1/2)) is the sum of the singular values of X Y^T / (n - 1), X and Y centred: the nonzero
    eigenvalues of S_x S_y are their squares. With fewer images than twice the features it is biased; differences
    between models on the same images then still rank them, its size means little.
    """
    x, y = original_ND.astype(np.float64), completed_ND.astype(np.float64)
    difference = x.mean(0) - y.mean(0)
    x, y = x - x.mean(0), y - y.mean(0)
    if len(x) > x.shape[1]:  # the triangular factors have the same products and fewer rows
        x, y = (np.linalg.qr(part, mode="r") for part in (x, y))
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    variance = (x**2).sum() + (y**2).sum() - 2 * cross
    return float(difference @ difference + variance / (len(original_ND) - 1))
