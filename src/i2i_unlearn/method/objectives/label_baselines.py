"""Three baselines that train the whole model with its own loss and differ in the forget images' ground truth.

Baselines of Li, Hsu, Chen, Marculescu, ICLR 2024, arXiv:2402.00351, sec. 5.

    L(theta) = mean_r loss_theta(T(x_r) -> x_r) + alpha * forget

    name          paper          forget term
    max_loss      Max Loss       mean_f -loss_theta(T(x_f) -> x_f)
    noisy_label   Noisy Label    mean_f  loss_theta(T(x_f) -> n),  n ~ N(mu, Sigma)
    retain_label  Retain Label   mean_f  loss_theta(T(x_f) -> x_r(f))

    paper            here            meaning
    loss(T(x) -> y)  training_loss   the family's own loss where y replaces the image's own hidden pixels
    n                noise_images    a Gaussian image, fresh for each image and step (noise.py, as for encoder_l2)
    x_r(f)           truth_of        the retain image at the same place in the batch: another one at every step
    theta            student         all weights: the authors' released code hands the whole model to the optimiser

Gradient ascent as an unlearning method is older than the paper. The term of max_loss has no lower bound: the longer the
run or the larger alpha, the further it goes. For retain_label, the released MAGE code weighs both terms by the retain
set's weight, so that no forget image has any influence; here the visible part is the forget image's.
Shape letters: B batch, C channels, H, W pixels.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from i2i_unlearn.method.objectives.base import (
    Batch,
    Objective,
    OnePhase,
    Settings,
    State,
    Targets,
    needed,
    own_losses,
)
from i2i_unlearn.models.base import ImageToImage

Truth = Callable[[Batch, Batch, Targets | None], Tensor | None]
"""(retain, forget, targets) -> what the hidden pixels of the forget images are to become; None = their own."""


def max_loss(settings: Settings) -> Objective:
    """Retain the truth of the retain set; get worse on the forget set."""
    return _with_truth(settings, lambda retain, forget, targets: None, sign=-1)


def noisy_label(settings: Settings) -> Objective:
    """Retain the truth of the retain set; learn noise in place of the forget set."""
    return _with_truth(settings, lambda retain, forget, targets: needed(targets, "noisy_label").noise_images(forget))


def retain_label(settings: Settings) -> Objective:
    """Retain the truth of the retain set; complete forget images as if they were retain images."""
    return _with_truth(settings, lambda retain, forget, targets: truth_of(len(forget.images_BCHW), retain.images_BCHW))


def truth_of(num_forget: int, retain_BCHW: Tensor) -> Tensor:
    """A retain image for each forget image, in the batch's order; starts again where there are too few."""
    return retain_BCHW[torch.arange(num_forget, device=retain_BCHW.device) % len(retain_BCHW)]


def _with_truth(settings: Settings, truth: Truth, *, sign: int = 1) -> Objective:
    def terms(
        batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        retain, forget = batches["retain"], batches["forget"]
        truth_BCHW = truth(retain, forget, targets)
        retain_B, forget_B = own_losses(student, retain, forget, seed=settings.seed, state=state, truth_BCHW=truth_BCHW)
        return {"retain": retain_B.mean(), "forget": sign * forget_B.mean()}

    return OnePhase(terms, settings.scope_or("all"), settings.alpha)
