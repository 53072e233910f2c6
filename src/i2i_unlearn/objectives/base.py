"""What the training loop and an objective say to each other.

An objective is a method object: it names the parameters it trains (`scope`) and the sets it needs, lists its phases,
turns batches into named terms, and combines their gradients. It does not know where targets or images come from; the
loop does not know what is minimised.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from i2i_unlearn.models.base import Embedding, ImageToImage

Scope = Literal["encoder", "all"]


@dataclass(frozen=True)
class Batch:
    """Images of one set for one step. Shape letters: B batch, C channels, H, W pixels."""

    images_BCHW: Tensor
    """Float in [-1, 1]."""
    visible_BHW: Tensor
    """The drawn operator: True = kept."""
    rows_B: Tensor
    """Row numbers within the set; they name an image's cached target."""
    step: int
    draws: tuple[Tensor, ...] = ()
    """What the encoder sees of chance, the same for student and teacher (models/base.py)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an objective can be told; each uses what it knows. Meanings: config.UnlearnConfig."""

    alpha: float
    scope: Literal["auto", "encoder", "all"] = "auto"
    epsilon: float = 0.5
    first_phase: float = 0.2
    seed: int = 0

    def scope_or(self, own: Scope) -> Scope:
        """The scope asked for, else the objective's `own`."""
        return own if self.scope == "auto" else self.scope


@dataclass(frozen=True)
class Phase:
    """A part of a run, e.g. ascent and then repair."""

    name: str
    num_steps: int


@dataclass
class State:
    """Where the run stands, and what a method keeps between steps. `memory` is stored in checkpoints."""

    step: int
    phase: Phase
    memory: dict[str, float]


class Targets(Protocol):
    """Teacher embeddings; recomputed, cached or averaged: the objective does not know which."""

    def of_images(self, name: str, batch: Batch) -> Embedding:
        """E_0(T(x)) of a batch of the set called `name`."""
        ...

    def of_noise(self, batch: Batch) -> Embedding:
        """E_0(T(n)) for the masks and draws of `batch`; one image where all masks are equal and draws are averaged."""
        ...

    def noise_images(self, batch: Batch) -> Tensor:
        """n: one noise image (B, C, H, W) for each image of `batch`, fresh at every step."""
        ...


class Objective(Protocol):
    """A method of unlearning (or of training)."""

    scope: Scope
    needs: frozenset[str]
    """Names of the sets it draws from, e.g. {"retain", "forget"}."""

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """The phases, `num_steps` in all."""
        ...

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """Named scalars with gradients, each a mean over its own set."""
        ...

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Add the combined gradient to `.grad`; return the total that is minimised."""
        ...


def encode_together(student: ImageToImage, *batches: Batch) -> list[Embedding]:
    """E_theta(T(x)) of several batches in one pass: fewer calls, the same numbers."""
    joined = student.encode(
        torch.cat([batch.images_BCHW for batch in batches]),
        join_masks([batch.visible_BHW for batch in batches]),
        tuple(torch.cat(parts) for parts in zip(*(batch.draws for batch in batches), strict=True)),
    )
    parts, start = [], 0
    for batch in batches:
        end = start + len(batch.images_BCHW)
        parts.append(joined[start:end])
        start = end
    return parts


def join_masks(masks: Sequence[Tensor]) -> Tensor:
    """Masks (B, H, W) of several batches in one; a mask shared by all images stays one expanded mask, for speed."""
    first = masks[0]
    if all(mask.stride(0) == 0 and mask[0].equal(first[0]) for mask in masks):
        return first[:1].expand(sum(len(mask) for mask in masks), -1, -1)
    return torch.cat(list(masks))
