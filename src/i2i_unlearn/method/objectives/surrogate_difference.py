"""Push the forget set past where a surrogate says that a retrained model goes, then repair on the retain set alone.

A direction of this project's own (docs/results/surrogate.md has what was measured).

    phase push     L(theta) = mean_r loss_theta(T(x_r) -> x_r) + alpha * mean_f loss_theta(T(x_f) -> t_f)
    phase repair   L(theta) = mean_r loss_theta(T(x_r) -> (1 - w) x_r + w G_0(T(x_r)))
    t_f = G_0(T(x_f)) + s (D(x_f) + m I(x_f))

    symbol           here            meaning
    loss(T(x) -> y)  training_loss   the family's own loss where y replaces the image's own hidden pixels
    G_0              teacher         the original model: what it paints
    D, I             surrogate       what leaving out the forget set, or the image alone, changes
    s, m             in the stage    config.UnlearnConfig: surrogate_strength, surrogate_own
    w                follow          half the share of the push's steps that was left out; 0 where families draw
    theta            student         all weights, or the encoder's (scope)

D says where a retrained model goes: not merely away from the truth, as ascent or noise do. But it is a kernel's answer,
and it is smooth: a network that never saw a class completes it badly with confidence, a kernel falls back to a mean. So
the push overshoots (s above 1), and training on the retain set alone, which is what the retrained model was made by,
finds the network's own answer on the way back. A few single images are shown too often in as many steps: the push ends
when each was shown `push_visits` times. The less was pushed, the less there is to repair; the repair then keeps to the
teacher's answers by half, or as many steps of plain training would memorise the retain images further. Wholly would
leave memory of forget images in the weights (docs/results/surrogate.md).
"""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from i2i_unlearn.method.objectives.base import (
    Batch,
    Phase,
    Settings,
    State,
    Targets,
    backward_weighted,
    needed,
    own_loss,
    own_losses,
    two_phases,
)
from i2i_unlearn.models.base import ImageToImage

NAME = "surrogate_difference"
PUSH, REPAIR = "push", "repair"


class SurrogateDifference:
    """Push towards the surrogate's targets, repair on retain images."""

    needs = frozenset({"retain", "forget", "unseen_target"})

    def __init__(self, settings: Settings) -> None:
        self.alpha = settings.alpha
        self.seed = settings.seed
        self.first_phase = settings.first_phase
        self.most_first_steps = settings.most_first_steps
        self.scope = settings.scope_or("all")

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """Push for `first_phase` of the steps, or as long as the few forget images bear it, then repair."""
        return two_phases(num_steps, self.first_phase, PUSH, REPAIR, most=self.most_first_steps)

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """Both sets go through the student in one batch; the repair sees no forget image."""
        given = needed(targets, NAME)
        retain, forget = batches["retain"], batches["forget"]
        if state.phase.name == REPAIR:
            truth_BCHW = self._repaired_to(retain, given, state.phase)
            return {"retain": own_loss(student, retain, seed=self.seed, state=state, truth_BCHW=truth_BCHW).mean()}
        truth_BCHW = given.surrogate(forget)
        retain_B, forget_B = own_losses(student, retain, forget, seed=self.seed, state=state, truth_BCHW=truth_BCHW)
        return {"retain": retain_B.mean(), "forget": forget_B.mean()}

    def _repaired_to(self, retain: Batch, targets: Targets, repair: Phase) -> Tensor | None:
        follow = 0.0 if retain.draws else self.follow(repair)
        if not follow:
            return None
        painted_BCHW = targets.outputs("retain", retain).clamp(-1, 1)
        return (1 - follow) * retain.images_BCHW + follow * painted_BCHW

    def follow(self, repair: Phase) -> float:
        """w: half the share of the push's steps that were left out because the forget images are few; below 1/2."""
        most = self.most_first_steps
        planned = self.first_phase * (repair.num_steps + most)
        return max(0.0, 1 - most / planned) / 2 if most else 0.0

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Gradient of retain + alpha * forget while pushing, of retain alone while repairing."""
        return backward_weighted(terms, self.alpha)
