"""What the training loop and an objective say to each other.

An objective is a method object: it names the parameters it trains (`scope`) and the sets it needs, lists its phases,
turns batches into named terms, and combines their gradients. It does not know where targets or images come from; the
loop does not know what is minimised.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor, nn

from i2i_unlearn.models.base import Embedding, ImageToImage


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
        """E_0(T(n)) for the masks of `batch`; one image where all masks are equal and draws are averaged."""
        ...


class Objective(Protocol):
    """A method of unlearning (or of training)."""

    scope: Literal["encoder", "all"]
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
