"""Encoder-only unlearning of image-to-image generators.

Li, Hsu, Chen, Marculescu, "Machine Unlearning for Image-to-Image Generative Models", ICLR 2024, arXiv:2402.00351.

    L(theta) =         mean_r || E_theta(T(x_r)) - E_0(T(x_r)) ||^2   (retain)
             + alpha * mean_f || E_theta(T(x_f)) - E_0(T(n))   ||^2   (forget),   n ~ N(mu, Sigma)

    paper     here        meaning
    E_theta   student     encoder being unlearned
    E_0       targets     what the frozen encoder of the original model (the teacher) gives
    T         visible     the drawn operator, the same for student and teacher
    n         noise       Gaussian image, the target of forgetting (noise.py)

|| . ||^2 is the mean over tokens and channels (it only rescales the learning rate), then over feature maps.
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
    encode_together,
)
from i2i_unlearn.models.base import Embedding, ImageToImage


def encoder_l2(
    retain: Embedding, retain_target: Embedding, forget: Embedding, forget_target: Embedding
) -> dict[str, Tensor]:
    """The two terms, each averaged over its own set, so that alpha means the same whatever the batch's mix."""
    return {
        "retain": retain.squared_distance(retain_target).mean(),
        "forget": forget.squared_distance(forget_target).mean(),
    }


class EncoderL2:
    """Retain what the teacher encodes; send the forget set to encoded noise. The decoder is never touched."""

    needs = frozenset({"retain", "forget"})

    def __init__(self, settings: Settings) -> None:
        self.alpha = settings.alpha
        self.scope = settings.encoder_scope("encoder_l2")

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """One phase."""
        return [Phase("unlearn", num_steps)]

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """Both sets go through the student in one batch: half the calls, the same numbers."""
        if targets is None:
            raise TypeError("encoder_l2 needs the teacher's targets")
        retain, forget = encode_together(student, batches["retain"], batches["forget"])
        return encoder_l2(
            retain,
            targets.of_images("retain", batches["retain"]),
            forget,
            targets.of_noise(batches["forget"]),
        )

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Gradient of retain + alpha * forget."""
        return backward_weighted(terms, self.alpha)
