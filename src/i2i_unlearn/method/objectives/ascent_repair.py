"""Push the model off the forget set, then repair it on the retain set.

Varshney, Torra, "Realistic Image-to-Image Machine Unlearning via Decoupling and Knowledge Retention",
arXiv:2502.04260. They argue that noise is the wrong target: a retrained model completes unseen images sensibly.

    ascent   theta <- theta + eta grad mean_f loss_theta(x_f)   until || h(T(x_f)) - h_0(T(x_f)) || is large enough
    repair   theta <- theta - eta grad mean_r loss_theta(x_r)   for the rest of the steps

    paper     here            meaning
    h         student         outputs D(E(T(x))) of the model being unlearned; all weights are trained
    h_0       outputs         outputs of the original model (the teacher)
    loss      training_loss   the family's own loss (models/base.py)
    lambda    alpha           how far is far enough

The paper's level is an absolute distance. Ours has no scale: the squared distance over the hidden pixels, as a share of
the teacher's own squared error there. The ascent ends at the first batch where

    sum_f || h(T(x_f)) - h_0(T(x_f)) ||^2  >=  alpha sum_f || x_f - h_0(T(x_f)) ||^2

and at the latest with the first phase; alpha = 0 is retain_finetune.
Shape letters: B batch, C channels, H, W pixels.
"""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from i2i_unlearn.method.objectives.base import Batch, Phase, Settings, State, Targets, needed, own_loss, two_phases
from i2i_unlearn.method.processes import ALONE, Processes
from i2i_unlearn.models.base import ImageToImage

ASCENT, REPAIR = "ascent", "repair"


def relative_distance(
    found_BCHW: Tensor,
    teacher_BCHW: Tensor,
    truth_BCHW: Tensor,
    visible_BHW: Tensor,
    processes: Processes = ALONE,
) -> Tensor:
    """How far outputs went from the teacher's over hidden pixels, as a share of the teacher's own squared error."""
    hidden_B1HW = ~visible_BHW.unsqueeze(1)
    moved = ((found_BCHW - teacher_BCHW).square() * hidden_B1HW).sum()
    error = ((truth_BCHW - teacher_BCHW).square() * hidden_B1HW).sum()
    processes.average_([moved, error])
    return moved / error.clamp(min=1e-12)


class AscentRepair:
    """Two phases: gradient ascent on the forget set, ordinary training on the retain set."""

    needs = frozenset({"retain", "forget"})

    def __init__(self, settings: Settings) -> None:
        self.level = settings.alpha
        self.first_phase = settings.first_phase
        self.seed = settings.seed
        self.scope = settings.scope_or("all")

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """Ascent, bounded in length; then repair."""
        return two_phases(num_steps, self.first_phase, ASCENT, REPAIR)

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """The loss of the set whose turn it is; an ascent that went far enough hands over before its phase ends."""
        given = needed(targets, "ascent_repair")
        ascend = state.phase.name == ASCENT and not self._is_far(batches["forget"], student, given, state)
        if ascend:
            return {"forget": -own_loss(student, batches["forget"], seed=self.seed, state=state).mean()}
        return {"retain": own_loss(student, batches["retain"], seed=self.seed, state=state).mean()}

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Plain gradient of the one term."""
        (total,) = terms.values()
        total.backward()
        return total

    def _is_far(self, forget: Batch, student: ImageToImage, targets: Targets, state: State) -> bool:
        """Whether the level was reached, now or at an earlier step: `memory` holds the largest distance so far."""
        farthest = state.memory.get("distance", -1.0)
        if farthest < self.level:
            images_BCHW, visible_BHW = forget.images_BCHW, forget.visible_BHW
            # Not under no_grad: autocast would keep the weights it casts there, and the loss would get no gradient.
            found_BCHW = student.decode(student.encode(images_BCHW, visible_BHW, forget.draws), visible_BHW).detach()
            teacher_BCHW = targets.outputs("forget", forget)
            moved = relative_distance(found_BCHW, teacher_BCHW, images_BCHW, visible_BHW, state.processes)
            distance = moved.item()
            farthest = state.memory["distance"] = max(farthest, distance)
        return farthest >= self.level
