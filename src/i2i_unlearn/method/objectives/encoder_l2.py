"""Encoder-only unlearning of image-to-image generators.

Li, Hsu, Chen, Marculescu, "Machine Unlearning for Image-to-Image Generative Models", ICLR 2024, arXiv:2402.00351.

    L(theta) =         mean_r || E_theta(T(x_r)) - E_0(T(x_r)) ||^2   (retain)
             + alpha * mean_f || E_theta(T(x_f)) - E_0(T(n))   ||^2   (forget),   n ~ N(mu, Sigma)

    paper     here        meaning
    E_theta   student     encoder being unlearned; the decoder is never touched
    E_0       targets     output of the frozen encoder of the original model (the teacher)
    T         visible     the drawn operator, the same for student and teacher
    n         noise       Gaussian image, the target of forgetting (noise.py)

|| . ||^2 is the mean over tokens and channels (it only rescales the learning rate), then over feature maps.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from i2i_unlearn.method.objectives.base import (
    Batch,
    Objective,
    OnePhase,
    Settings,
    State,
    Targets,
    encode_together,
    needed,
)
from i2i_unlearn.models.base import Embedding, ImageToImage


def encoder_l2(settings: Settings) -> Objective:
    """Retain the teacher's embeddings; send the forget set to encoded noise."""

    def terms(
        batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        given = needed(targets, "encoder_l2")
        return encoder_terms(batches, student, given, lambda _: given.of_noise(batches["forget"]))

    return OnePhase(terms, settings.encoder_scope("encoder_l2"), settings.alpha)


def encoder_terms(
    batches: Mapping[str, Batch],
    student: ImageToImage,
    targets: Targets,
    forget_target: Callable[[Embedding], Embedding],
) -> dict[str, Tensor]:
    """The terms of objectives that look at embeddings alone; they differ in where the forget set is sent.

    Both sets go through the student in one batch: half the calls, the same numbers. `forget_target` is called with the
    student's embeddings of the forget images.
    """
    retain, forget = encode_together(student, batches["retain"], batches["forget"])
    return squared_distances(retain, targets.of_images("retain", batches["retain"]), forget, forget_target(forget))


def squared_distances(
    retain: Embedding, retain_target: Embedding, forget: Embedding, forget_target: Embedding
) -> dict[str, Tensor]:
    """The two terms, each averaged over its own set, so that alpha means the same whatever the batch's mix."""
    return {
        "retain": retain.squared_distance(retain_target).mean(),
        "forget": forget.squared_distance(forget_target).mean(),
    }
