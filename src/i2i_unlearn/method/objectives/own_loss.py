"""Ordinary training: the family's own loss on one set. Used by `pretrain` and `reference`, not an unlearning objective.

L(theta) = mean_x loss_theta(x, T)

A family may be trained in phases, each with a loss of its own (models/base.py); most have one.
"""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from i2i_unlearn.method.objectives.base import Batch, Phase, Scope, State, Targets
from i2i_unlearn.models.base import ONE_PHASE, ImageToImage, TrainingPhase
from i2i_unlearn.models.randomness import generator_of_share


class OwnLoss:
    """Minimise the family's training loss over the set `train`, phase by phase."""

    scope: Scope = "all"
    needs = frozenset({"train"})

    def __init__(self, seed: int, phases: Sequence[TrainingPhase] = ONE_PHASE) -> None:
        self.seed = seed
        self._phases = {phase.name: phase for phase in phases}

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """Each phase gets its share of the steps, at least one where there are enough, and a schedule of its own."""
        ends, total, num_phases = [0], 0.0, len(self._phases)
        for place, phase in enumerate(self._phases.values(), start=1):
            total += phase.share
            later = num_phases - place  # phases that still want a step
            ends.append(max(ends[-1], min(max(round(total * num_steps), ends[-1] + 1), num_steps - later)))
        return [
            Phase(name, end - start, own_schedule=num_phases > 1)
            for name, start, end in zip(self._phases, ends, ends[1:], strict=False)
        ]

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """The mean over the batch."""
        batch = batches["train"]
        generator = generator_of_share(batch.share, self.seed, "training_loss", state.step)
        loss = self._phases[state.phase.name].loss
        return {"loss": loss(student, batch.images_BCHW, batch.visible_BHW, generator=generator).mean()}

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Plain gradient."""
        terms["loss"].backward()
        return terms["loss"]
