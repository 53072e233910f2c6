"""Noise images n: what the teacher is shown in place of the forget images (Li et al. 2024, sec. 4 and appendix).

    n ~ N(mu, Sigma)

    covariance   Sigma                                            mean    mu
    identity     I: independent pixels of unit variance           zero    mid-grey
    diagonal     variance of each pixel over the forget set       forget  mean image of the forget set
    full         covariance of patches of the forget set

The theory wants Sigma of the forget images; the paper's appendix uses I; the released code differs by family.
Pixels are in [-1, 1]; draws are not clamped.
Shape letters: B batch, C channels, H, W pixels, N patches, P patch pixels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """A Gaussian over images."""

    mean_CHW: Tensor
    scale: Tensor
    """(C, H, W): deviation of each pixel; or (N, P, P): Cholesky factor of each patch's covariance."""
    patch_size: int
    """Pixels; 0 where `scale` is per pixel."""

    def draw(self, num: int, generator: torch.Generator) -> Tensor:
        """Noise images (num, C, H, W) on the CPU."""
        white_BCHW = torch.randn(num, *self.mean_CHW.shape, generator=generator)
        if not self.patch_size:
            return self.mean_CHW + self.scale * white_BCHW
        height, width = self.mean_CHW.shape[1:]
        white_BPN = F.unfold(white_BCHW, self.patch_size, stride=self.patch_size)
        coloured_BPN = torch.einsum("npq,bqn->bpn", self.scale, white_BPN)
        return self.mean_CHW + F.fold(coloured_BPN, (height, width), self.patch_size, stride=self.patch_size)


def fit_noise(forget_BCHW: Tensor, *, covariance: str, mean: str, patch_size: int) -> Noise:
    """The noise of the chosen kind for these forget images (float, [-1, 1]).

    `patch_size` must divide both sides for `full`.
    """
    zero_CHW = torch.zeros_like(forget_BCHW[0])
    mean_CHW = forget_BCHW.mean(0) if mean == "forget" else zero_CHW
    if covariance == "identity":
        return Noise(mean_CHW, torch.ones_like(zero_CHW), 0)
    if covariance == "diagonal":
        return Noise(mean_CHW, forget_BCHW.std(0, unbiased=False), 0)
    return Noise(mean_CHW, _patch_factors(forget_BCHW, patch_size), patch_size)


def _patch_factors(images_BCHW: Tensor, patch_size: int) -> Tensor:
    """Lower factors L (N, P, P): L L^T = covariance of each patch plus a little, for flat pixels have variance 0."""
    patches_BPN = F.unfold(images_BCHW, patch_size, stride=patch_size).double()
    centred_NBP = (patches_BPN - patches_BPN.mean(0)).permute(2, 0, 1)
    covariance_NPP = centred_NBP.transpose(1, 2) @ centred_NBP / len(images_BCHW)
    jitter_PP = 1e-6 * torch.eye(covariance_NPP.shape[-1], dtype=torch.float64)
    factors_NPP: Tensor = torch.linalg.cholesky(covariance_NPP + jitter_PP)
    return factors_NPP.float()
