"""Features whose inner products are a Gaussian (RBF) kernel, exactly on the landmarks and nearly elsewhere.

    k(u, v) = exp(-||u - v||^2 / width) + 1,     width = mean squared distance between inputs
    phi(u)  = L^-1 k(Z, u),   L L' = k(Z, Z)     Z landmarks

Williams & Seeger, "Using the Nystroem Method to Speed Up Kernel Machines", NeurIPS 2000. With all N training images as
landmarks the kernel is exact. The 1 lets a ridge regression find its own offset.
Shape letters: N images, K landmarks, P inputs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

JITTER = 1e-8  # relative to k(u, u) = 2: equal landmarks would make L singular


@dataclass(frozen=True)
class KernelFeatures:
    """phi for given landmarks."""

    landmarks_KP: Tensor
    width: float
    cholesky_KK: Tensor

    @classmethod
    def fit(cls, landmarks_KP: Tensor, width: float) -> "KernelFeatures":
        """Prepare phi; float64 throughout."""
        kernel_KK = _kernel(landmarks_KP, landmarks_KP, width)
        kernel_KK.diagonal().add_(2 * JITTER)
        return cls(landmarks_KP, width, torch.linalg.cholesky(kernel_KK))

    def __call__(self, inputs_NP: Tensor) -> Tensor:
        """phi(u) of each row: (N, K)."""
        kernel_KN = _kernel(self.landmarks_KP, inputs_NP, self.width)
        features_KN: Tensor = torch.linalg.solve_triangular(self.cholesky_KK, kernel_KN, upper=False)
        return features_KN.T


def mean_squared_distance(inputs_NP: Tensor) -> float:
    """Over all ordered pairs of rows, a row and itself included: twice the total variance."""
    return 2 * float(inputs_NP.var(0, correction=0).sum())


def _kernel(one_NP: Tensor, other_KP: Tensor, width: float) -> Tensor:
    squared_NK = one_NP.square().sum(1, keepdim=True) + other_KP.square().sum(1).unsqueeze(0) - 2 * one_NP @ other_KP.T
    return squared_NK.clamp_min_(0).div_(-width).exp_().add_(1)
