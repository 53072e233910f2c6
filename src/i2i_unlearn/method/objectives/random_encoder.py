"""Baseline: the encoder's output on the forget set itself is pushed to Gaussian noise.

A baseline of Li, Hsu, Chen, Marculescu, ICLR 2024, arXiv:2402.00351, sec. 5 ("Random Encoder").

    L(theta) =         mean_r || E_theta(T(x_r)) - E_0(T(x_r)) ||^2   (retain)
             + alpha * mean_f || E_theta(T(x_f)) - n           ||^2   (forget),   n ~ N(0, I)

    paper     here           meaning
    n         noise_like     Gaussian noise in embedding space, drawn for every feature map at every step

The other symbols and || . ||^2 are those of encoder_l2. N(0, I) is the paper's word; the released MAGE code takes the
teacher's mean and deviation in place of 0 and 1, and weighs both terms by the retain set's weight, so that no forget
image has any influence. Here the forget term is the forget images'.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from i2i_unlearn.method.objectives.base import Batch, Objective, OnePhase, Settings, State, Targets, needed
from i2i_unlearn.method.objectives.encoder_l2 import encoder_terms
from i2i_unlearn.models.base import Embedding, ImageToImage
from i2i_unlearn.models.randomness import derive_seed


def random_encoder(settings: Settings) -> Objective:
    """Retain the teacher's embeddings; encode the forget set as noise."""

    def terms(
        batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        seed = derive_seed(settings.seed, "embedding noise", state.step, *state.processes.stream)
        return encoder_terms(
            batches, student, needed(targets, "random_encoder"), lambda forget: noise_like(forget, seed)
        )

    return OnePhase(terms, settings.encoder_scope("random_encoder"), settings.alpha)


def noise_like(embedding: Embedding, seed: int) -> Embedding:
    """Noise n ~ N(0, I) of the shape of every feature map.

    Drawn on the device of the embedding: the maps of a U-Net hold a thousand times the numbers of an image.
    """
    generator = torch.Generator(embedding.maps[0].device).manual_seed(seed)
    maps = (torch.randn(part.shape, generator=generator, device=part.device) for part in embedding.maps)
    return Embedding(tuple(maps), embedding.valid_BN)
