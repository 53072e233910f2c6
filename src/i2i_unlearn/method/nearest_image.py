"""Which image of another set is most like an image: the nearest in the teacher's pooled embedding.

    a(x) = pooled E_0(T(x)): each feature map averaged over its places, divided by its spread over the candidates
    like(x) = argmin_u || a(x) - a(u) ||^2

Averaging over places asks for like content, not for the same content at the same pixel; dividing by the spread lets no
map and no channel dominate by its size.
Shape letters: B images, N candidates, F features.
"""

import torch
from torch import Tensor

from i2i_unlearn.models.base import Embedding


def pooled(embedding: Embedding) -> Tensor:
    """One vector per image, (B, F): the mean over tokens (padding left out) or over pixels, the maps side by side."""
    if embedding.valid_BN is not None:
        valid_BN1 = embedding.valid_BN.unsqueeze(-1)
        return torch.cat([(part * valid_BN1).sum(1) / valid_BN1.sum(1) for part in embedding.maps], dim=1).float()
    return torch.cat([_mean_over_places(part) for part in embedding.maps], dim=1).float()


def _mean_over_places(feature: Tensor) -> Tensor:
    """(B, N, D) tokens -> (B, D); (B, C, H, W) pixels -> (B, C); (B, F) as it is."""
    if feature.dim() == 3:  # noqa: PLR2004
        return feature.mean(1)
    return feature.flatten(2).mean(2) if feature.dim() > 3 else feature  # noqa: PLR2004


def nearest(queries_BF: Tensor, candidates_NF: Tensor) -> Tensor:
    """Row of the candidate nearest to each query, (B,); the first one among equals."""
    spread_1F = candidates_NF.std(0, unbiased=False, keepdim=True)
    scale_1F = torch.where(spread_1F > 0, spread_1F, 1.0)
    return torch.cdist(queries_BF / scale_1F, candidates_NF / scale_1F).argmin(1)
