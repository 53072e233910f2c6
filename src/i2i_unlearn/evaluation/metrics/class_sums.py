"""How sure a classifier is of what it sees in completed images, and how much that differs between them.

Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016, arXiv:1606.03498, sec. 4:

    score = exp( mean_i KL( p(y | x_i) || p(y) ) )        p(y | x_i) class posterior, p(y) its mean over images

1 = all images look alike to the classifier; at most its number of classes. With InceptionV3's logits it is the
Inception Score, and taken as published: ten parts of the images, the mean of their scores. With another classifier it
is not an Inception Score, cannot be compared with published ones, and is taken over all images at once. Part k of
ten are images k, k + 10, ...: shards are often sorted, so that consecutive images would make parts of few classes.

KL splits into a sum over images, - entropy, and the entropy of p(y): two running sums for each part. torchmetrics keeps
the logits of all images, 4 KB each, hence our own few lines, with torchmetrics as the test's oracle. It has no
interval: repeated images make p(y) poorer, so resampling would show a score that is too low.
Shape letters: B batch, N images, C classes, P parts.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class ClassSums:
    """Sums over images of class posteriors and of their negative entropies, for each of `num_parts` parts."""

    def __init__(self, num_parts: int = 1) -> None:
        self._num_parts = num_parts
        self._num_images = 0
        self._posterior_PC: Tensor | None = None
        self._negative_entropy_P = torch.zeros(num_parts, dtype=torch.float64)
        self._number_P = torch.zeros(num_parts, dtype=torch.float64)

    def add(self, logits_BC: Tensor) -> None:
        """Add the next images."""
        log_p_BC = logits_BC.double().log_softmax(1)
        p_BC = log_p_BC.exp()
        part_B = (self._num_images + torch.arange(len(p_BC))) % self._num_parts
        if self._posterior_PC is None:
            self._posterior_PC = p_BC.new_zeros(self._num_parts, p_BC.shape[1])
        self._posterior_PC.index_add_(0, part_B, p_BC)
        self._negative_entropy_P.index_add_(0, part_B, (p_BC * log_p_BC).sum(1))
        self._number_P.index_add_(0, part_B, torch.ones_like(part_B, dtype=torch.float64))
        self._num_images += len(p_BC)

    def score(self) -> float:
        """Mean over parts that have images."""
        if self._posterior_PC is None:
            raise ValueError("no image was added")
        filled_P = self._number_P > 0
        number_P = self._number_P[filled_P]
        mean_PC = self._posterior_PC[filled_P] / number_P.unsqueeze(1)
        entropy_P = -torch.xlogy(mean_PC, mean_PC).sum(1)
        return float((self._negative_entropy_P[filled_P] / number_P + entropy_P).exp().mean())


def classifier_score(logits_NC: NDArray[np.floating]) -> float:
    """The score of images whose logits are all there, in one part."""
    sums = ClassSums()
    sums.add(torch.from_numpy(logits_NC))
    return sums.score()
