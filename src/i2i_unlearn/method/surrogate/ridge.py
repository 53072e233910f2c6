"""Ridge regression, and what it would have given without some of its images, in closed form.

    W = (F'F + ridge I)^-1 F'Y            F features (N, K), Y truths (N, Q)
    without a set:                        take its rows out of F'F and F'Y and solve again
    without image i alone:                y_i - (F W_without_i)_i = r_i / (1 - h_i)
    r_i = y_i - (F W)_i,                  h_i = F_i (F'F + ridge I)^-1 F_i'   (leverage)

The third line is the leave-one-out residual (Cook & Weisberg, "Residuals and Influence in Regression", 1982, sec. 2.2).
F'F and F'Y are all that a fit needs of its images, so a large set is read once, in pieces, for any number of fits. In
float64: small ridges make the system ill-conditioned.
Shape letters: N images, K features, Q outputs (hidden pixels).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ridge:
    """A fit. Nothing is centred: give the features a way to be constant."""

    weight_KQ: Tensor
    cholesky_KK: Tensor
    """Lower factor of F'F + ridge I."""

    def __call__(self, features_NK: Tensor) -> Tensor:
        """Predictions (N, Q)."""
        return features_NK @ self.weight_KQ

    def leverage(self, features_NK: Tensor) -> Tensor:
        """The h of images that were fitted, (N,), in [0, 1): how much an image's own truth decides its prediction."""
        half_KN = torch.linalg.solve_triangular(self.cholesky_KK, features_NK.T, upper=False)
        leverage_N: Tensor = half_KN.square().sum(0)
        return leverage_N


@dataclass(frozen=True)
class Sums:
    """Everything that fits and their errors need of a set of images; the sums of two sets add up."""

    num: int
    gram_KK: Tensor
    """F'F."""
    moment_KQ: Tensor
    """F'Y."""
    square: float
    """Sum of Y^2."""

    @classmethod
    def of(cls, features_NK: Tensor, truth_NQ: Tensor) -> "Sums":
        """The sums over these images."""
        square = float(truth_NQ.square().sum())
        return cls(len(features_NK), features_NK.T @ features_NK, features_NK.T @ truth_NQ, square)

    def __add__(self, other: "Sums") -> "Sums":
        """The sums over both sets."""
        return Sums(
            self.num + other.num,
            self.gram_KK + other.gram_KK,
            self.moment_KQ + other.moment_KQ,
            self.square + other.square,
        )

    def fit(self, ridge: float) -> Ridge:
        """Least squares over these images with `ridge` (above 0, in units of F'F) on the squared weights."""
        system_KK = self.gram_KK.clone()
        system_KK.diagonal().add_(ridge)
        cholesky_KK = torch.linalg.cholesky(system_KK)
        return Ridge(torch.cholesky_solve(self.moment_KQ, cholesky_KK), cholesky_KK)

    def mean_squared_error(self, fit: Ridge) -> float:
        """Of a fit (of any images) on these images: || Y - F W ||^2 / (N Q), without going over them again."""
        weight_KQ = fit.weight_KQ
        crossed = 2 * (weight_KQ * self.moment_KQ).sum() - (weight_KQ * (self.gram_KK @ weight_KQ)).sum()
        return (self.square - float(crossed)) / (self.num * weight_KQ.shape[1])


def own_influence(residual_NQ: Tensor, leverage_N: Tensor) -> Tensor:
    """What each fitted image's prediction would change by if it alone had been left out: - r h / (1 - h), (N, Q)."""
    return -residual_NQ * (leverage_N / (1 - leverage_N)).unsqueeze(1)
