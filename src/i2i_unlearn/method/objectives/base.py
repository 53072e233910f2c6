"""The interface between the training loop and an objective.

An objective is a method object: it names the parameters it trains (`scope`) and the sets it needs, lists its phases,
turns batches into named terms, and combines their gradients. It does not know where targets or images come from; the
loop does not know what is minimised.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from i2i_unlearn.method.processes import ALONE, Processes
from i2i_unlearn.models.base import Embedding, HasStem, ImageToImage
from i2i_unlearn.models.randomness import Share, generator_of_share
from i2i_unlearn.support.errors import UserError

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
    """The random part of the encoder's input, the same for student and teacher (models/base.py)."""
    stem: Tensor | None = None
    """Output of the frozen part of E for T(x), where it was computed before (models/base.py, HasStem)."""
    share: Share | None = None
    """Which rows of the step's batch these are, where several processes share it."""

    def part_of(self, processes: Processes) -> "Batch":
        """The rows that this process takes: every `size`-th, so that real and proxy images are in each part.

        Raises:
            UserError: the parts would not be equal, and their means not the mean of the batch.
        """
        num = len(self.rows_B)
        if processes.size == 1:
            return self
        if num % processes.size:
            raise UserError(
                f"{num} images per step cannot be shared evenly by {processes.size} processes; choose a batch_size that"
                " is a multiple of their number"
            )
        mine = slice(processes.rank, None, processes.size)
        return Batch(
            self.images_BCHW[mine],
            self.visible_BHW[mine],
            self.rows_B[mine],
            self.step,
            tuple(part[mine] for part in self.draws),
            None if self.stem is None else self.stem[mine],
            Share(torch.arange(num)[mine], num),
        )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of all objectives; each reads its own. Meanings: config.sections.UnlearnConfig."""

    alpha: float
    scope: Literal["auto", "encoder", "all"] = "auto"
    epsilon: float = 0.5
    first_phase: float = 0.2
    most_first_steps: int = 0
    """Of the first phase, however long the run; 0 = no limit."""
    seed: int = 0

    def scope_or(self, own: Scope) -> Scope:
        """The scope asked for, else the objective's `own`."""
        return own if self.scope == "auto" else self.scope

    def encoder_scope(self, objective: str) -> Scope:
        """The scope of an objective whose terms see embeddings alone: the encoder.

        Raises:
            UserError: all weights are asked for; the decoder would get no gradient.
        """
        if self.scope == "all":
            raise UserError(
                f"unlearn.scope=all: the objective {objective} looks at the encoder's output, so no other weight would"
                " change; set unlearn.scope to auto or encoder"
            )
        return "encoder"


@dataclass(frozen=True)
class Phase:
    """A part of a run, e.g. ascent and then repair."""

    name: str
    num_steps: int
    own_schedule: bool = False
    """Trained like a run of its own: warm-up, decay of the learning rate and moving average start again, the latter
    from the averaged weights that the previous phase ended with."""


@dataclass
class State:
    """Where the run is, and what a method keeps between steps. `memory` is stored in checkpoints."""

    step: int
    phase: Phase
    memory: dict[str, float]
    processes: Processes = ALONE
    """They share the batch. The loop averages gradients; an objective averages the values from which it decides."""


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

    def like_unseen(self, batch: Batch) -> Embedding:
        """E_0(T(u)), u the image of the set `unseen_target` most like each forget image, by its mask and draws."""
        ...

    def surrogate(self, batch: Batch) -> Tensor:
        """Where a surrogate of the retrained model sends each forget image: (B, C, H, W) in [-1, 1]."""
        ...

    def outputs(self, name: str, batch: Batch) -> Tensor:
        """D_0(E_0(T(x))) of a batch of the set called `name`: images (B, C, H, W), not clamped."""
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


@dataclass
class OnePhase:
    """Minimise retain + alpha * forget, or retain alone, in one phase: what most objectives do."""

    compute: Callable[[Mapping[str, Batch], ImageToImage, Targets | None, State], dict[str, Tensor]]
    """The terms, as in Objective."""
    scope: Scope
    alpha: float
    needs: frozenset[str] = frozenset({"retain", "forget"})
    phase: str = "unlearn"

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """The one."""
        return [Phase(self.phase, num_steps)]

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """Those of `compute`."""
        return self.compute(batches, student, targets, state)

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Gradient of retain + alpha * forget."""
        return backward_weighted(terms, self.alpha)


def needed(targets: Targets | None, objective: str) -> Targets:
    """The targets, for an objective that cannot do without them.

    Raises:
        TypeError: there are none, which is a bug of the caller.
    """
    if targets is None:
        raise TypeError(f"{objective} needs the teacher's targets")
    return targets


def encode_together(student: ImageToImage, *batches: Batch) -> list[Embedding]:
    """E_theta(T(x)) of several batches in one pass: fewer calls, the same numbers."""
    visible_BHW = join_masks([batch.visible_BHW for batch in batches])
    stems = [batch.stem for batch in batches if batch.stem is not None]
    if isinstance(student, HasStem) and len(stems) == len(batches):
        joined = student.encode_stem(torch.cat(stems), visible_BHW)
    else:
        draws = tuple(torch.cat(parts) for parts in zip(*(batch.draws for batch in batches), strict=True))
        joined = student.encode(torch.cat([batch.images_BCHW for batch in batches]), visible_BHW, draws)
    return joined.split([len(batch.images_BCHW) for batch in batches])


def own_loss(
    student: ImageToImage, batch: Batch, *, seed: int, state: State, truth_BCHW: Tensor | None = None
) -> Tensor:
    """The loss that the family is trained with, per image (B,); what it draws depends on seed and step alone.

    `truth_BCHW`, where given, is what the hidden pixels are to become.
    """
    generator = generator_of_share(batch.share, seed, "training_loss", state.step)
    return student.training_loss(batch.images_BCHW, batch.visible_BHW, generator=generator, truth_BCHW=truth_BCHW)


def own_losses(
    student: ImageToImage, retain: Batch, forget: Batch, *, seed: int, state: State, truth_BCHW: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`own_loss` of each retain image and of each forget image, from one pass over both.

    `truth_BCHW`, where given, is what the hidden pixels of the forget images are to become; the retain images' truth
    is always their own.
    """
    losses_B = student.training_loss(
        torch.cat((retain.images_BCHW, forget.images_BCHW)),
        join_masks((retain.visible_BHW, forget.visible_BHW)),
        generator=generator_of_share(_joined_share(retain, forget), seed, "training_loss", state.step),
        truth_BCHW=None if truth_BCHW is None else torch.cat((retain.images_BCHW, truth_BCHW)),
    )
    num_retain = len(retain.images_BCHW)
    return losses_B[:num_retain], losses_B[num_retain:]


def _joined_share(first: Batch, second: Batch) -> Share | None:
    """Rows of the batch that the whole of `first` and the whole of `second`, one after the other, would be."""
    if first.share is None or second.share is None:
        return None
    rows_B = torch.cat((first.share.rows_B, first.share.num_rows + second.share.rows_B))
    return Share(rows_B, first.share.num_rows + second.share.num_rows)


def backward_weighted(terms: Mapping[str, Tensor], alpha: float) -> Tensor:
    """Add the gradient of retain + alpha * forget, or of retain alone, to `.grad`; return that total."""
    total = terms["retain"] + alpha * terms["forget"] if "forget" in terms else terms["retain"]
    total.backward()
    return total


def two_phases(num_steps: int, share: float, first: str, second: str, *, most: int = 0) -> list[Phase]:
    """`share` of the steps for the first phase, at least 1, at most `most` (0 = no limit); the rest for the second."""
    num_first = max(1, round(share * num_steps))
    num_first = min(num_first, most) if most else num_first
    return [Phase(first, num_first), Phase(second, num_steps - num_first)]


def join_masks(masks: Sequence[Tensor]) -> Tensor:
    """Masks (B, H, W) of several batches in one; a mask shared by all images stays one expanded mask, for speed."""
    first = masks[0]
    if all(mask.stride(0) == 0 and mask[0].equal(first[0]) for mask in masks):
        return first[:1].expand(sum(len(mask) for mask in masks), -1, -1)
    return torch.cat(list(masks))
