"""The protocol of a model that can be unlearned; all families and users' own classes meet it.

    x_hat = D(E(T(x)))      E encode, D decode, T the operator (a boolean `visible` mask)

Images are float in [-1, 1]; a family converts to its own range on entry and exit.
Shape letters: B batch, N tokens, D embedding size, C channels, H, W pixels.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Embedding:
    """E(T(x)): one or more feature maps (a U-Net has one per skip connection).

    `maps[i]` is (B, ...). `valid_BN`, where given, belongs to token maps (B, N, D): True = a real token, False =
    padding at the end, where images of one batch have different numbers of visible patches. `context` is what the
    decoder needs in addition to the maps and no encoder changes (a diffusion model's noisy image and timestep), each
    (B, ...); distances leave it out.
    """

    maps: tuple[Tensor, ...]
    valid_BN: Tensor | None = None
    context: tuple[Tensor, ...] = ()

    def __getitem__(self, rows: Tensor | slice) -> "Embedding":
        """The embeddings of some images of the batch, as if these alone had been encoded."""
        context = tuple(part[rows] for part in self.context)
        if self.valid_BN is None:
            return Embedding(tuple(feature[rows] for feature in self.maps), None, context)
        valid_BN = self.valid_BN[rows]
        longest = int(valid_BN.sum(1).max())  # padding that only the other images need goes
        return Embedding(tuple(feature[rows][:, :longest] for feature in self.maps), valid_BN[:, :longest], context)

    def split(self, sizes: Sequence[int]) -> "list[Embedding]":
        """The embeddings of consecutive parts of the batch, as slices would give them, but with one pass backward."""
        if self.valid_BN is not None:
            ends = list(itertools.accumulate(sizes))
            return [self[end - size : end] for size, end in zip(sizes, ends, strict=True)]
        maps = zip(*(feature.split(list(sizes)) for feature in self.maps), strict=True)
        contexts = [tuple(part.split(list(sizes))[i] for part in self.context) for i in range(len(sizes))]
        return [Embedding(own, None, context) for own, context in zip(maps, contexts, strict=True)]

    def squared_distance(self, target: "Embedding") -> Tensor:
        """Mean squared difference of each image, (B,): over tokens and channels, then over maps.

        Every map counts the same, so that none dominates by its size. `target` may hold one image for all.
        """
        return torch.stack([self._of_map(a, b) for a, b in zip(self.maps, target.maps, strict=True)]).mean(0)

    def _of_map(self, one: Tensor, other: Tensor) -> Tensor:
        squared = (one - other).square()
        if self.valid_BN is None:
            return squared.mean(tuple(range(1, squared.ndim)))  # flattening would copy maps whose channels are last
        per_token_BN = squared.flatten(2).mean(2) * self.valid_BN
        return per_token_BN.sum(1) / self.valid_BN.sum(1)


class ImageToImage(Protocol):
    """An image-to-image generator. Implementations are `torch.nn.Module`s."""

    family: ClassVar[str]
    image_size: tuple[int, int]
    """(height, width) in pixels."""
    num_channels: int

    def draw(self, num: int, generator: torch.Generator, *, emphasis: float = 0.0) -> tuple[Tensor, ...]:
        """The random part of E's input, one row per image: () for most families.

        A diffusion model draws timestep and noise; `emphasis` above 0 favours timesteps where sampling starts. Drawn
        once and given to student and teacher alike.
        """
        ...

    def encode(self, images_BCHW: Tensor, visible_BHW: Tensor, draws: tuple[Tensor, ...] = ()) -> Embedding:
        """E(T(x)). Hidden pixels have no influence (in diffusion models: but through the noisy image of `draws`).

        Without `draws`, a family that needs them takes the same fixed ones for every image.
        """
        ...

    def decode(self, embedding: Embedding, visible_BHW: Tensor) -> Tensor:
        """D(e): images (B, C, H, W) in [-1, 1], not clamped, nothing pasted back."""
        ...

    def complete(self, images_BCHW: Tensor, visible_BHW: Tensor, *, generator: torch.Generator) -> Tensor:
        """Keep visible pixels as they are and fill the hidden ones by D(E(T(x))), clamped to [-1, 1]."""
        ...

    def training_loss(
        self,
        images_BCHW: Tensor,
        visible_BHW: Tensor,
        *,
        generator: torch.Generator,
        truth_BCHW: Tensor | None = None,
    ) -> Tensor:
        """The loss that the family is trained with, per image: (B,).

        `truth_BCHW`, where given, is what the hidden pixels are to become in place of the image's own.
        """
        ...

    def encoder_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names (as in `state_dict`) and parameters of E alone. What the decoder shares is not among them."""
        ...

    @classmethod
    def create(
        cls, architecture: Mapping[str, Any], *, image_size: int, num_channels: int, generator: torch.Generator
    ) -> Self:
        """A model with random weights.

        Raises:
            UserError: the sizes do not fit each other.
        """
        ...

    @classmethod
    def load_architecture(cls, folder: str | Path, *, generator: torch.Generator) -> Self:
        """A model like the one in `folder` with new random weights (for the retrained reference)."""
        ...

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a model directory (config.json + model.safetensors).

        Raises:
            UserError: the directory is missing, incomplete, damaged, or of another family.
        """
        ...

    def save(self, folder: str | Path) -> None:
        """Write a model directory that the family's own library opens."""
        ...


@dataclass(frozen=True)
class TrainingPhase:
    """A part of a family's training from scratch, e.g. tokenizer and then transformer."""

    name: str
    share: float
    """Of the steps; those of all phases sum to 1."""
    loss: Callable[..., Tensor]
    """(model, images_BCHW, visible_BHW, generator=) -> (B,)."""


def _training_loss(model: ImageToImage, images_BCHW: Tensor, visible_BHW: Tensor, **more: Any) -> Tensor:
    return model.training_loss(images_BCHW, visible_BHW, **more)


ONE_PHASE = (TrainingPhase("train", 1.0, _training_loss),)
"""How most families are trained."""


def training_phases(model: Any) -> Sequence[TrainingPhase]:
    """How `model` is trained from scratch: by its own `training_phases()` if it has one, else in one phase."""
    phases: Sequence[TrainingPhase] = model.training_phases() if hasattr(model, "training_phases") else ONE_PHASE
    return phases


def training_facts(model: Any) -> dict[str, float]:
    """Facts of its training for the summary: the model's own `training_facts()`, if it has one."""
    facts: dict[str, float] = model.training_facts() if hasattr(model, "training_facts") else {}
    return facts


@runtime_checkable
class HasStem(Protocol):
    """What a model offers in addition if E begins with a part that stays frozen in training, such as a tokenizer.

    Where T is fixed, what that part gives for an image never changes, and is computed once (training/frozen_stem.py).
    `encode(x, visible) == encode_stem(stem(x, visible), visible)`
    """

    def stem(self, images_BCHW: Tensor, visible_BHW: Tensor) -> Tensor:
        """Output of the frozen part for T(x), one row per image."""
        ...

    def encode_stem(self, stem: Tensor, visible_BHW: Tensor) -> Embedding:
        """The rest of E."""
        ...


@runtime_checkable
class CompletesWithLoss(Protocol):
    """What a model offers in addition if one pass gives completion and training loss, and nothing is random."""

    def complete_and_loss(self, images_BCHW: Tensor, visible_BHW: Tensor) -> tuple[Tensor, Tensor]:
        """`complete` (B, C, H, W) and `training_loss` (B,), to the bit."""
        ...


@runtime_checkable
class LossAtTime(Protocol):
    """What a model offers in addition if its training loss depends on a drawn time: a diffusion model."""

    def loss_at(self, images_BCHW: Tensor, visible_BHW: Tensor, share: float, *, generator: torch.Generator) -> Tensor:
        """`training_loss` (B,) at one time for all images: `share` of the schedule, 0 = no noise, 1 = noise alone."""
        ...
