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
from typing import Literal

import torch
from torch import Tensor, nn

from i2i_unlearn.models.base import Embedding, ImageToImage
from i2i_unlearn.objectives.base import Batch, Phase, State, Targets


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

    scope: Literal["encoder", "all"] = "encoder"
    needs = frozenset({"retain", "forget"})

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """One phase."""
        return [Phase("unlearn", num_steps)]

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """Both sets go through the student in one batch: half the calls, the same numbers."""
        if targets is None:
            raise TypeError("encoder_l2 needs the teacher's targets")
        retain, forget = batches["retain"], batches["forget"]
        both = student.encode(
            torch.cat((retain.images_BCHW, forget.images_BCHW)), join_masks(retain.visible_BHW, forget.visible_BHW)
        )
        num_retain = len(retain.images_BCHW)
        return encoder_l2(
            both[:num_retain],
            targets.of_images("retain", retain),
            both[num_retain:],
            targets.of_noise(forget),
        )

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Gradient of retain + alpha * forget."""
        total = terms["retain"] + self.alpha * terms["forget"]
        total.backward()
        return total


def join_masks(one_BHW: Tensor, other_BHW: Tensor) -> Tensor:
    """Masks of two batches in one; a mask shared by all images stays one expanded mask, which models use."""
    shared = one_BHW.stride(0) == 0 and other_BHW.stride(0) == 0
    if shared and one_BHW[0].equal(other_BHW[0]):
        return one_BHW[:1].expand(len(one_BHW) + len(other_BHW), -1, -1)
    return torch.cat((one_BHW, other_BHW))
