"""Baseline: ascend the model's own training loss on the forget set.

A baseline of Li, Hsu, Chen, Marculescu, ICLR 2024, arXiv:2402.00351, sec. 5 ("Max Loss"); gradient ascent as an
unlearning method is older than it.

    L(theta) =         mean_r loss_theta(x_r)   (retain)
             + alpha * mean_f -loss_theta(x_f)  (forget)

    paper     here            meaning
    loss      training_loss   the family's own loss of the image that D(E(T(x))) is to be (models/base.py)
    theta     student         all weights: the authors' released code hands the whole model to the optimiser

The forget term has no lower bound: the longer the run or the larger alpha, the further it goes.
Shape letters: B batch.
"""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from i2i_unlearn.method.objectives.base import Batch, Phase, Settings, State, Targets, backward_weighted, own_losses
from i2i_unlearn.models.base import ImageToImage


def max_loss(retain_B: Tensor, forget_B: Tensor) -> dict[str, Tensor]:
    """The two terms from the losses of each image."""
    return {"retain": retain_B.mean(), "forget": -forget_B.mean()}


class MaxLoss:
    """Retain what is true of the retain set; get worse on the forget set."""

    needs = frozenset({"retain", "forget"})

    def __init__(self, settings: Settings) -> None:
        self.alpha = settings.alpha
        self.seed = settings.seed
        self.scope = settings.scope_or("all")

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """One phase."""
        return [Phase("unlearn", num_steps)]

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """Both sets go through the student in one batch; the teacher has no part in it."""
        return max_loss(*own_losses(student, batches["retain"], batches["forget"], seed=self.seed, state=state))

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Gradient of retain + alpha * forget."""
        return backward_weighted(terms, self.alpha)
