"""Baseline: the forget images' ground truth is replaced by retain images.

A baseline of Li, Hsu, Chen, Marculescu, ICLR 2024, arXiv:2402.00351, sec. 5 ("Retain Label").

    L(theta) =         mean_r loss_theta(T(x_r) -> x_r)     (retain)
             + alpha * mean_f loss_theta(T(x_f) -> x_r(f))  (forget)

    paper            here            meaning
    loss(T(x) -> y)  training_loss   the family's own loss where y stands for the image's own hidden pixels
    x_r(f)           truth_of        the retain image of the same place in the batch: another one at every step
    theta            student         all weights: the authors' released code hands the whole model to the optimiser

The released MAGE code weighs both terms by the retain set's weight, so that no forget image has any influence; here the
visible part is the forget image's.
Shape letters: B batch, C channels, H, W pixels.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from i2i_unlearn.method.objectives.base import Batch, Phase, Settings, State, Targets, backward_weighted, own_losses
from i2i_unlearn.models.base import ImageToImage


def retain_label(retain_B: Tensor, forget_B: Tensor) -> dict[str, Tensor]:
    """The two terms from the losses of each image; the forget images' losses are those against retain images."""
    return {"retain": retain_B.mean(), "forget": forget_B.mean()}


def truth_of(num_forget: int, retain_BCHW: Tensor) -> Tensor:
    """A retain image for each forget image: in the batch's order, from its start again where there are too few."""
    return retain_BCHW[torch.arange(num_forget, device=retain_BCHW.device) % len(retain_BCHW)]


class RetainLabel:
    """Retain what is true of the retain set; complete forget images as if they were retain images."""

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
        retain, forget = batches["retain"], batches["forget"]
        truth_BCHW = truth_of(len(forget.images_BCHW), retain.images_BCHW)
        return retain_label(
            *own_losses(student, retain, forget, seed=self.seed, state=state, truth_BCHW=truth_BCHW),
        )

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Gradient of retain + alpha * forget."""
        return backward_weighted(terms, self.alpha)
