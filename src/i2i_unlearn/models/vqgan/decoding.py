"""Iterative decoding: hidden tokens are drawn all at once, the surest are kept, the others drawn again, and so on.

Chang, Zhang, Jiang, Liu, Freeman, "MaskGIT: Masked Generative Image Transformer", CVPR 2022, arXiv:2202.04200,
sec. 3.2; the variant of MAGE (CVPR 2023, arXiv:2211.09117), whose sampler sets the temperature of the choice.

Step k of S (k from 0): draw an id for every unknown token;

    confidence = log p(id) + temperature (1 - (k + 1) / S) gumbel

and the m least sure become unknown again, m = floor(M cos(pi/2 (k + 1) / S)), M = tokens unknown at the beginning; at
least one, and fewer than were unknown. After the last step all ids count.
Shape letters: B batch, N tokens, K codes.
"""

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor


class Chance(Protocol):
    """Where random numbers come from, so that a published run can be followed number by number."""

    def ids(self, logits_BNK: Tensor) -> Tensor:
        """Ids (B, N) drawn from the distributions with these logits."""
        ...

    def gumbel(self, like_BN: Tensor) -> Tensor:
        """Gumbel noise of that shape."""
        ...


class FromGenerator:
    """All the uniform numbers of a decoding, drawn at its beginning, image by image.

    So a batch gets the numbers that its images would get one after the other from the same generator. They are drawn
    on the CPU: they do not depend on the device.
    """

    def __init__(self, generator: torch.Generator, num_images: int, num_steps: int, num_tokens: int) -> None:
        uniform = torch.rand(num_images, 2 * num_steps, num_tokens, generator=generator)
        self._uniform: Iterator[Tensor] = iter(uniform.unbind(1))

    def ids(self, logits_BNK: Tensor) -> Tensor:
        """By the inverse of the cumulative distribution: one uniform number a token."""
        cumulative_BNK = logits_BNK.float().softmax(2).cumsum(2)
        level_BN1 = self._next(logits_BNK).unsqueeze(2) * cumulative_BNK[..., -1:]
        return torch.searchsorted(cumulative_BNK, level_BN1, right=True).squeeze(2).clamp(max=logits_BNK.shape[2] - 1)

    def gumbel(self, like_BN: Tensor) -> Tensor:
        """-log(-log(u))."""
        return -(-self._next(like_BN).clamp(1e-20, 1 - 1e-7).log()).log()

    def _next(self, like: Tensor) -> Tensor:
        return next(self._uniform).to(like.device)


def decode_iteratively(
    logits_of: Callable[[Tensor, Tensor], Tensor],
    ids_BN: Tensor,
    known_BN: Tensor,
    *,
    mask_id: int,
    num_steps: int,
    temperature: float,
    chance: Chance,
) -> Tensor:
    """Ids (B, N) with the unknown ones filled in; known ones stay. `logits_of(ids, known)` is the model."""
    *_, last = decoding_steps(
        logits_of,
        ids_BN,
        known_BN,
        mask_id=mask_id,
        num_steps=num_steps,
        temperature=temperature,
        chance=chance,
    )
    return last


def decoding_steps(
    logits_of: Callable[[Tensor, Tensor], Tensor],
    ids_BN: Tensor,
    known_BN: Tensor,
    *,
    mask_id: int,
    num_steps: int,
    temperature: float,
    chance: Chance,
) -> Iterator[Tensor]:
    """All ids chosen at each step, (B, N)."""
    num_hidden_B = (~known_BN).sum(1)
    for step in range(num_steps):
        logits_BNK = logits_of(ids_BN.masked_fill(~known_BN, mask_id), known_BN)
        chosen_BN = torch.where(known_BN, ids_BN, chance.ids(logits_BNK))
        yield chosen_BN
        done = (step + 1) / num_steps
        log_p_BN = logits_BNK.float().log_softmax(2).gather(2, chosen_BN.unsqueeze(2)).squeeze(2)
        confidence_BN = log_p_BN + temperature * (1 - done) * chance.gumbel(log_p_BN)
        confidence_BN = confidence_BN.masked_fill(known_BN, math.inf)
        again_B = _num_drawn_again(num_hidden_B, (~known_BN).sum(1), done)
        rank_BN = confidence_BN.argsort(1).argsort(1)
        ids_BN, known_BN = chosen_BN, rank_BN >= again_B.unsqueeze(1)


def _num_drawn_again(num_hidden_B: Tensor, num_unknown_B: Tensor, done: float) -> Tensor:
    """How many of each image; none where nothing is unknown."""
    wanted_B = (num_hidden_B * math.cos(math.pi / 2 * done)).floor().long()
    return torch.minimum(wanted_B, num_unknown_B - 1).clamp(min=1).minimum(num_unknown_B)
