"""Baseline: the forget images' ground truth is replaced by Gaussian noise.

A baseline of Li, Hsu, Chen, Marculescu, ICLR 2024, arXiv:2402.00351, sec. 5 ("Noisy Label").

    L(theta) =         mean_r loss_theta(T(x_r) -> x_r)  (retain)
             + alpha * mean_f loss_theta(T(x_f) -> n)    (forget),   n ~ N(mu, Sigma)

    paper            here            meaning
    loss(T(x) -> y)  training_loss   the family's own loss where y stands for the image's own hidden pixels
    n                noise_images    a Gaussian image, fresh for each image and step (noise.py, like encoder_l2's)
    theta            student         all weights: the authors' released code hands the whole model to the optimiser

Shape letters: B batch, C channels, H, W pixels.
"""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from i2i_unlearn.method.objectives.base import Batch, Phase, Settings, State, Targets, backward_weighted, own_losses
from i2i_unlearn.models.base import ImageToImage


def noisy_label(retain_B: Tensor, forget_B: Tensor) -> dict[str, Tensor]:
    """The two terms from the losses of each image; the forget images' losses are those against noise."""
    return {"retain": retain_B.mean(), "forget": forget_B.mean()}


class NoisyLabel:
    """Retain what is true of the retain set; learn noise in place of the forget set."""

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
        """Both sets go through the student in one batch."""
        if targets is None:
            raise TypeError("noisy_label needs the targets' noise")
        retain, forget = batches["retain"], batches["forget"]
        noise_BCHW = targets.noise_images(forget)
        return noisy_label(
            *own_losses(student, retain, forget, seed=self.seed, state=state, truth_BCHW=noise_BCHW),
        )

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Gradient of retain + alpha * forget."""
        return backward_weighted(terms, self.alpha)
