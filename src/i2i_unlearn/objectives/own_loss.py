"""Ordinary training: the family's own loss on one set. Used by `pretrain` and `reference`, not an unlearning objective.

L(theta) = mean_x loss_theta(x, T)
"""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from i2i_unlearn.models.base import ImageToImage
from i2i_unlearn.objectives.base import Batch, Phase, Scope, State, Targets
from i2i_unlearn.randomness import generator_for


class OwnLoss:
    """Minimise the family's training loss over the set `train`."""

    scope: Scope = "all"
    needs = frozenset({"train"})

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """One phase."""
        return [Phase("train", num_steps)]

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """The mean over the batch."""
        batch = batches["train"]
        generator = generator_for(self.seed, "training_loss", state.step)
        return {"loss": student.training_loss(batch.images_BCHW, batch.visible_BHW, generator=generator).mean()}

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Plain gradient."""
        terms["loss"].backward()
        return terms["loss"]
