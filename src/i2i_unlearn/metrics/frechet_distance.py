"""Frechet distance (FD) between completed images and their originals, in an extractor's features.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017, arXiv:1706.08500:

    FD = || m_x - m_y ||^2 + trace(S_x + S_y - 2 (S_x S_y)^(1/2))       m mean, S covariance

Only with InceptionV3's features and weights is it the FID; the name tells the extractor. With fewer images than twice
the feature size the covariances are too poor (below one time: singular), and `kernel_distance` takes its place. It has
no interval: FD grows when images repeat, so resampling would show a distance that is too large, and honest corrections
cost hundreds of decompositions.

The sums are ours: torchmetrics would keep those of the originals once for each model, and each of them twice.
"""

import numpy as np
import torch
from torch import Tensor, nn

from i2i_unlearn.compat_torchvision import ensure_torchvision
from i2i_unlearn.metrics.bootstrap import Floats, Statistic
from i2i_unlearn.metrics.features import FeatureSums, is_frechet_reliable, sums_of
from i2i_unlearn.metrics.observations import Observations

__all__ = ["distance_of_sums", "frechet_distance", "is_frechet_reliable", "statistic"]


class _AsGiven(nn.Module):
    """Stands where torchmetrics expects an extractor: the features are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features_ND: Tensor) -> Tensor:
        return features_ND


def distance_of_sums(original: FeatureSums, completed: FeatureSums) -> float:
    """FD of two sets whose features were summed, by torchmetrics, in float64."""
    ensure_torchvision()  # torchmetrics imports it
    from torchmetrics.image.fid import FrechetInceptionDistance

    distance = FrechetInceptionDistance(feature=_AsGiven(len(original.sum_D)))
    distance.update(original.sum_D.new_empty(0, len(original.sum_D)), real=True)  # it must have seen something
    for kind, sums in (("real", original), ("fake", completed)):
        setattr(distance, f"{kind}_features_sum", sums.sum_D)
        setattr(distance, f"{kind}_features_cov_sum", sums.products_DD)
        setattr(distance, f"{kind}_features_num_samples", torch.tensor(sums.num_images))
    return float(distance.compute())


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
