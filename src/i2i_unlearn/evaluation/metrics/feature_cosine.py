"""Mean cosine between the features of a completed image and those of its own original; 1 = alike.

The paper takes CLIP's image embeddings (`feature_cosine_clip`); any extractor will do, and the name tells which.
"""

import numpy as np

from i2i_unlearn.evaluation.metrics.bootstrap import Statistic, weighted_mean
from i2i_unlearn.evaluation.metrics.features import Array
from i2i_unlearn.evaluation.metrics.observations import Observations, of_sampled


def cosine(one_ND: Array, other_ND: Array) -> Array:
    """Cosine of each pair of rows, (N,), in [-1, 1]; 0 where a row is zero."""
    product_N = np.einsum("nd,nd->n", one_ND, other_ND, dtype=np.float64)
    length_N = np.linalg.norm(one_ND, axis=1).astype(np.float64) * np.linalg.norm(other_ND, axis=1)
    cosine_N = np.divide(product_N, length_N, out=np.zeros_like(product_N), where=length_N > 0)
    return np.asarray(cosine_N, dtype=np.float32)


def statistic(seen: Observations) -> Statistic:
    """Every image counts the same."""
    return of_sampled(Statistic(weighted_mean(seen.feature_cosine_N[seen.featured_N])), seen.featured_N)
