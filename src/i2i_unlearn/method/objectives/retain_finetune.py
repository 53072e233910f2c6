"""Baseline: only go on training on the retain set, and let forgetting come by itself (catastrophic forgetting).

A baseline of Li, Hsu, Chen, Marculescu, ICLR 2024, arXiv:2402.00351, sec. 5, and of most work on unlearning.

    L(theta) = mean_r loss_theta(x_r)   (retain)

    paper     here            meaning
    loss      training_loss   the family's own loss of the image that D(E(T(x))) is to be (models/base.py)
    theta     student         all weights: it is the training of the original, gone on with

No forget image is read, and alpha has no meaning.
"""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from i2i_unlearn.method.objectives.base import Batch, Phase, Settings, State, Targets, own_loss
from i2i_unlearn.models.base import ImageToImage


def retain_finetune(retain_B: Tensor) -> dict[str, Tensor]:
    """The one term from the losses of each image."""
    return {"retain": retain_B.mean()}


class RetainFinetune:
    """Ordinary training without the forget set."""

    needs = frozenset({"retain"})

    def __init__(self, settings: Settings) -> None:
        self.seed = settings.seed
        self.scope = settings.scope_or("all")

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """One phase."""
        return [Phase("finetune", num_steps)]

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """The mean over the retain batch."""
        return retain_finetune(own_loss(student, batches["retain"], seed=self.seed, state=state))

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Plain gradient."""
        terms["retain"].backward()
        return terms["retain"]
