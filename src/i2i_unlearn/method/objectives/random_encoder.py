"""Baseline: the encoder's output on the forget set itself is pushed to Gaussian noise.

A baseline of Li, Hsu, Chen, Marculescu, ICLR 2024, arXiv:2402.00351, sec. 5 ("Random Encoder").

    L(theta) =         mean_r || E_theta(T(x_r)) - E_0(T(x_r)) ||^2   (retain)
             + alpha * mean_f || E_theta(T(x_f)) - n           ||^2   (forget),   n ~ N(0, I)

    paper     here           meaning
    E_theta   student        encoder being unlearned; the decoder is never touched
    E_0       targets        what the frozen encoder of the original model (the teacher) gives
    n         noise_like     Gaussian noise in embedding space, for every feature map of its own, fresh at every step

|| . ||^2 is the mean over tokens and channels, then over feature maps, as in encoder_l2. N(0, I) is the paper's word;
the released MAGE code takes the teacher's mean and deviation in place of 0 and 1, and weighs both terms by the retain
set's weight, so that no forget image has any influence. Here the forget term is the forget images'.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
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
from i2i_unlearn.models.randomness import derive_seed


def random_encoder(
    retain: Embedding, retain_target: Embedding, forget: Embedding, noise: Embedding
) -> dict[str, Tensor]:
    """The two terms, each averaged over its own set."""
    return {
        "retain": retain.squared_distance(retain_target).mean(),
        "forget": forget.squared_distance(noise).mean(),
    }


def noise_like(embedding: Embedding, seed: int) -> Embedding:
    """Noise n ~ N(0, I) of the shape of every feature map.

    Drawn on the device of the embedding: the maps of a U-Net hold a thousand times the numbers of an image.
    """
    generator = torch.Generator(embedding.maps[0].device).manual_seed(seed)
    maps = (torch.randn(part.shape, generator=generator, device=part.device) for part in embedding.maps)
    return Embedding(tuple(maps), embedding.valid_BN)


class RandomEncoder:
    """Retain what the teacher encodes; encode the forget set as noise."""

    needs = frozenset({"retain", "forget"})

    def __init__(self, settings: Settings) -> None:
        self.alpha = settings.alpha
        self.seed = settings.seed
        self.scope = settings.encoder_scope("random_encoder")

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """One phase."""
        return [Phase("unlearn", num_steps)]

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """Both sets go through the student in one batch."""
        if targets is None:
            raise TypeError("random_encoder needs the teacher's targets")
        retain, forget = encode_together(student, batches["retain"], batches["forget"])
        return random_encoder(
            retain,
            targets.of_images("retain", batches["retain"]),
            forget,
            noise_like(forget, derive_seed(self.seed, "embedding noise", state.step, *state.processes.stream)),
        )

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Gradient of retain + alpha * forget."""
        return backward_weighted(terms, self.alpha)
