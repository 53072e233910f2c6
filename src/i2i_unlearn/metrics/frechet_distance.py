"""Frechet distance (FD) between completed images and their originals, in an extractor's features.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017, arXiv:1706.08500:

    FD = || m_x - m_y ||^2 + trace(S_x + S_y - 2 (S_x S_y)^(1/2))       m mean, S covariance

Only with InceptionV3's features is it the FID; here the name tells the extractor. With fewer images than twice the
feature size the covariances are too poor (below one time: singular), and `kernel_distance` takes its place. It has no
interval: FD grows when images repeat, so resampling would show a distance that is too large, and honest corrections
cost hundreds of decompositions.
"""

import numpy as np
import torch
from torch import Tensor, nn

from i2i_unlearn.compat_torchvision import ensure_torchvision
from i2i_unlearn.metrics.bootstrap import Floats, Statistic
from i2i_unlearn.metrics.observations import Array, Observations


def is_frechet_reliable(num_images: int, num_features: int) -> bool:
    """Whether there are at least twice as many images as features."""
    return num_images >= 2 * num_features


class _AsGiven(nn.Module):
    """Stands where torchmetrics expects an extractor: the features are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features_ND: Tensor) -> Tensor:
        return features_ND


def frechet_distance(original_ND: Array, completed_ND: Array) -> float:
    """FD of two sets of features, in float64."""
    ensure_torchvision()  # torchmetrics imports it
    from torchmetrics.image.fid import FrechetInceptionDistance

    distance = FrechetInceptionDistance(feature=_AsGiven(original_ND.shape[1]))
    for features_ND, real in ((original_ND, True), (completed_ND, False)):
        distance.update(torch.from_numpy(features_ND.astype(np.float64)), real=real)
    return float(distance.compute())


def statistic(seen: Observations) -> Statistic | None:
    """None where there are too few images."""
    if not is_frechet_reliable(*seen.features_ND.shape):
        return None

    def of(counts_KN: Floats) -> Floats:
        return np.full(len(counts_KN), frechet_distance(seen.original_features_ND, seen.features_ND))

    return Statistic(of, has_interval=False)
