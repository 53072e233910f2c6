"""What every audit is: an attack on one model at a time, a number for how well it went, and what that number can say.

    measured     the attack tells the teacher, which is guilty, from a model that never saw the forget set
    blind        it does not: that it finds nothing in the unlearned model then means nothing
    n/a          a set or the reference is missing, or there are too few images, so nothing is said

The same attack with the same random numbers runs on teacher, unlearned model and reference. Numbers are bootstrapped
over images, all models on the same draws, so differences between models are paired (evaluation/metrics/bootstrap.py).

Shape letters: N images, C channels, H, W pixels, B batch, K draws.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i_unlearn.config.sections import AuditSettings
from i2i_unlearn.evaluation.findings import NEVER_SEEN_SETS, original_in
from i2i_unlearn.evaluation.metrics.bootstrap import Draws
from i2i_unlearn.evaluation.metrics.observations import ImageFacts
from i2i_unlearn.models.base import ImageToImage
from i2i_unlearn.models.extractors import Extractor
from i2i_unlearn.models.operators import Operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import derive_seed, generator_for
from i2i_unlearn.support.progress import Advance

NEVER_SEEN = "never_seen"
"""Both sets of never-seen images, class by class."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images of one role with their masks, in memory."""

    images_NCHW: Tensor
    """uint8."""
    visible_NHW: Tensor
    """True = kept."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images_NCHW)

    def __getitem__(self, rows: slice | Tensor) -> "ImageSet":
        """Some of the images."""
        return ImageSet(images_NCHW=self.images_NCHW[rows], visible_NHW=self.visible_NHW[rows])

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Images in [-1, 1] (B, C, H, W) and masks (B, H, W), in order."""
        for start in range(0, len(self), size):
            images, visible = self.images_NCHW[start : start + size], self.visible_NHW[start : start + size]
            yield to_float(images).to(device), visible.to(device)


@dataclass(frozen=True, kw_only=True)
class CanaryImages:
    """Images that entered the training by a coin, or not (data/images/canaries.py). Shape letter: N canaries."""

    images: ImageSet
    included_N: NDArray[np.bool_]
    tested_N: NDArray[np.bool_]
    forgotten_N: NDArray[np.bool_]
    """Trained on and withdrawn by a request, now or earlier."""


@dataclass(frozen=True, kw_only=True)
class AuditInputs:
    """What an audit may use."""

    models: Mapping[str, ImageToImage]
    """teacher, unlearned and, where there is one, reference; on `device`, without gradients. Never changed: an audit
    that trains, trains a copy."""
    sets: Mapping[str, ImageSet]
    """forget, retain, forget_holdout, retain_holdout; a set may be empty."""
    operator: Operator
    extractor: Extractor
    settings: AuditSettings
    num_draws: int
    """Of the bootstrap."""
    batch_size: int
    seed: int
    device: torch.device
    observed: Mapping[str, Mapping[str, ImageFacts]] = field(default_factory=dict)
    """By set and model: what was seen of every scored image; a set without images is not there."""
    further: ImageSet | None = None
    """Never-seen images of the forget images' classes beyond the scored ones."""
    further_labels: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype=str))
    canaries: CanaryImages | None = None
    epoch: ImageSet | None = None
    """Retain images of which one epoch of further training is made; None = those of `sets`."""
    positions: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """By set: where the images of `sets` are among the scored ones; all of them where it is not said."""
    labels: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    """By set: the class of every scored image; empty text where the data name none."""
    codes: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    """By set: the keyed code of every scored image."""
    one_by_one: bool = False
    """The request names its images one by one, rather than by class or subject."""
    single_images: bool = False
    """And images held out of those to keep show the same kinds of things."""

    cache: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What audits worked out and share (seen.py)."""

    @property
    def original(self) -> str:
        """Name of the model before any request: that of the teacher where they are the same."""
        return original_in(self.models)

    def generator(self, *purpose: str | int) -> torch.Generator:
        """The same numbers for every model, so that chance does not add to their difference."""
        return generator_for(self.seed, "audit", *purpose)

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """As `generator`, for numpy."""
        return np.random.default_rng(derive_seed(self.seed, "audit", *purpose))

    def never_trained(self, least: int) -> tuple[str, ImageSet]:
        """The set that forget images are told from: held out of their own classes, else of those to keep.

        Returns the name of the set too; the set may have fewer than `least` images where none has as many.
        """
        for name in ("forget_holdout", "retain_holdout"):
            if name in self.sets and len(self.sets[name]) >= least:
                return name, self.sets[name]
        return "retain_holdout", self.sets["retain_holdout"]

    def never_seen(self, least: int) -> tuple[str, ...]:
        """The sets that forget images are told from by their losses.

        Both where the request names images one by one (`matching.py` then compares class by class); not where these are
        of other kinds than the images to keep and enough of the images that it names were held out.
        """
        named = self.never_trained(least)[0]
        if not self.one_by_one or (not self.single_images and named == "forget_holdout"):
            return (named,)
        return tuple(name for name in NEVER_SEEN_SETS if len(self.sets[name])) or NEVER_SEEN_SETS[-1:]

    def num_images(self, names: Iterable[str]) -> int:
        """Audited images of some sets together."""
        return sum(len(self.sets[name]) for name in names)

    def compared_with(self, names: Sequence[str]) -> str:
        """What `Attacked.compared_with` calls never-seen sets."""
        return NEVER_SEEN if self.one_by_one and tuple(names) != ("forget_holdout",) else names[0]

    def is_alike(self, never_trained: str) -> bool:
        """Whether that set shows what the forget images show, so that memory alone can tell the two apart."""
        return never_trained == "forget_holdout" or self.single_images


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """How the attack went."""

    measures: Mapping[str, Mapping[str, Draws]]
    """By model and measure; the samples of all models are of the same draws."""
    num_images: int
    """Size of the smallest set that the measures rest on."""
    compared_with: str = ""
    """Name of the never-trained set, where there is one."""
    innocent_holds: bool = True
    """Whether the audit's innocent value is that of a model which never saw the forget images. Not where they differ
    from the never-trained ones by more than having been trained on; the reference alone tells then."""
    deciding: tuple[str, ...] = ()
    """Measures that may decide: the first by which the audit finds the original model; () = the audit's own."""
    status: tuple[str, str] | None = None
    """measured or blind, and why, where the audit says so itself; None = from the original model (`run.judge`)."""
    curves: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    """By model: what a plot shows, e.g. a ROC curve's columns."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else a reader must know, such as the number of steps and completions."""


class Audit(Protocol):
    """An attack. Modules offer one as `AUDIT`."""

    name: str
    question: str
    """What it asks, in words for readers who are no experts."""
    measure: str
    """The measure that policies bound and that decides whether the audit is blind."""
    innocent: float | None
    """Value of a model that never saw the forget set; None where only the reference tells."""
    sets: tuple[str, ...]
    """Roles that must have `min_images`; `never_trained` stands for any held-out set, `never_seen` for what
    `AuditInputs.never_seen` names."""
    min_images: int
    """Below it the audit is not applicable: the interval would be too wide to say anything."""

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Attack every model; `advance(units)` in all `units(inputs)` times."""
        ...

    def units(self, inputs: AuditInputs) -> int:
        """Length of the progress bar: images completed or trained on, about."""
        ...
