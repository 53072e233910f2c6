"""Sees every image once: each model completes it once, and each completion is embedded once.

Memory does not grow with the size of images, and with their number only by seven numbers per image and model: features
are summed once there are many, and pixels and rows of features are kept of some images only.
Shape letters: B batch, C channels, H, W pixels, N images, D features, P sampled hole pixels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i_unlearn.evaluation.findings import is_reference
from i2i_unlearn.evaluation.metrics.class_sums import ClassSums
from i2i_unlearn.evaluation.metrics.feature_cosine import cosine
from i2i_unlearn.evaluation.metrics.features import keep_features
from i2i_unlearn.evaluation.metrics.hole_psnr import hole_error
from i2i_unlearn.evaluation.metrics.observations import MOST_IMAGES, Observations
from i2i_unlearn.evaluation.metrics.output_spread import MOST_PIXELS
from i2i_unlearn.evaluation.metrics.shape import SHAPES, shapes_of
from i2i_unlearn.models.base import CompletesWithLoss
from i2i_unlearn.models.extractors import Classifier, Extractor
from i2i_unlearn.models.operators import Operator
from i2i_unlearn.models.randomness import derive_seed, generator_for
from i2i_unlearn.support.errors import UserError


def masks_of(places: Iterable[tuple[str, int]], operator: Operator, height: int, width: int, *, seed: int) -> Tensor:
    """The mask of each image (B, H, W), True = kept. `places` are shard and row.

    A mask belongs to its image: whatever the set, the batch and the other images, the same seed gives the same mask.
    """
    if operator.fixed:
        return operator.draw(len(list(places)), height, width, generator_for(seed))
    drawn = [operator.draw(1, height, width, generator_for(seed, "evaluate", "mask", *place)) for place in places]
    return torch.cat(drawn)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A batch as every model completed it; on the CPU."""

    images_BCHW: Tensor
    visible_BHW: Tensor
    completed: Mapping[str, Tensor]
    """By model: (B, C, H, W) in [-1, 1]."""
    hole_error: Mapping[str, Tensor]
    """By model: (B,), as `hole_psnr.hole_error`."""

    def __len__(self) -> int:
        """Number of images in the batch."""
        return len(self.images_BCHW)


class _Column:
    """Values of a known number of images, filled batch by batch.

    One block of memory: a small tensor kept of every batch, between the large ones that come and go, would keep the
    freed memory from being used again, and the process would grow by several kilobytes an image.
    """

    def __init__(self, num_rows: int) -> None:
        self._num_rows = num_rows
        self._count = 0
        self._values: NDArray[Any] | None = None

    def add(self, part: Tensor) -> None:
        """The next rows."""
        rows = part.cpu().numpy()
        if self._values is None:
            self._values = np.empty((self._num_rows, *rows.shape[1:]), dtype=rows.dtype)
        self._values[self._count : self._count + len(rows)] = rows
        self._count += len(rows)

    def values(self) -> NDArray[Any]:
        """All rows."""
        if self._values is None:
            raise ValueError("no row was added")
        return self._values


class SetObserver:
    """Gathers `Observations` of all models on one set, batch by batch."""

    def __init__(
        self,
        models: Mapping[str, Any],
        extractor: Extractor,
        *,
        set_name: str,
        num_images: int,
        seed: int,
        device: torch.device,
        max_features: int | None = None,
    ) -> None:
        """`max_features` bounds the number of images whose features are computed; None = all."""
        self.models = models
        self.extractor = extractor
        self._set_name = set_name
        self._num_images = num_images
        self._seed = seed
        self.device = device
        # Every model is given the same random numbers, so that they do not add to the difference between models.
        self._complete_with = {name: generator_for(seed, "evaluate", "complete", set_name) for name in models}
        self._loss_with = {name: generator_for(seed, "evaluate", "loss", set_name) for name in models}
        self._count = 0
        self._pixels_P: Tensor | None = None
        self._sampled_N = _some_of(num_images, MOST_IMAGES, seed, "spread", set_name)
        self._featured_N = _some_of(num_images, max_features or num_images, seed, "features", set_name)
        places_N = _some_of(len(self._featured_N), MOST_IMAGES, seed, "spread", set_name)
        self._rows_N = self._featured_N[places_N]
        kept = (len(self._featured_N), extractor.num_features, places_N)
        self._originals = keep_features(*kept)
        self._features = {name: keep_features(*kept) for name in models}
        self._classes = {name: _class_sums(extractor) for name in models}
        self._hidden = _Column(len(self._sampled_N))
        self._columns: dict[str, dict[str, _Column]] = {name: {} for name in models}

    @torch.inference_mode()
    def see(self, images_BCHW: Tensor, visible_BHW: Tensor) -> Seen:
        """Let all models complete a batch (on the CPU, in [-1, 1]) and note what metrics need."""
        images, visible = images_BCHW.to(self.device), _to_device(visible_BHW, self.device)
        both = {name: self._complete_with_loss(name, images, visible) for name in self.models}
        completed = {name: output_BCHW for name, (output_BCHW, _) in both.items()}
        kept, featured = (self._here(wanted_N, len(images_BCHW)) for wanted_N in (self._sampled_N, self._featured_N))
        self._note_hidden(images_BCHW, visible_BHW, kept)
        original_BD = self._features_of(images_BCHW, featured)
        self._originals.add(original_BD)
        errors = {}
        for name, output_BCHW in completed.items():
            facts = self._facts(name, output_BCHW, completed, images, visible) | {"own_loss": both[name][1].float()}
            errors[name] = facts["hole_error"].cpu()
            facts["pixels"] = (output_BCHW.flatten(1)[kept.to(self.device)][:, self._pixels_P] + 1) / 2
            cosine_B = torch.full((len(images_BCHW),), torch.nan)
            cosine_B[featured] = self._note_features(name, self._features_of(output_BCHW, featured), original_BD)
            facts["feature_cosine"] = cosine_B
            for key, value in facts.items():
                num_rows = len(self._sampled_N) if key == "pixels" else self._num_images
                self._columns[name].setdefault(key, _Column(num_rows)).add(value)
        self._count += len(images_BCHW)
        return Seen(
            images_BCHW=images_BCHW,
            visible_BHW=visible_BHW,
            completed={name: output.cpu() for name, output in completed.items()},
            hole_error=errors,
        )

    def observations(self) -> dict[str, Observations]:
        """By model; after all images were seen."""
        if self._count != self._num_images:
            raise ValueError(f"{self._count} of {self._num_images} images were seen")
        hidden_NP = self._hidden.values()
        found = {}
        for name, known in self._columns.items():
            columns = {key: column.values() for key, column in known.items()}
            found[name] = Observations(
                hole_error_N=columns["hole_error"],
                reference_errors={other: columns[other] for other in self.models if other in columns},
                own_loss_N=columns["own_loss"],
                feature_cosine_N=columns["feature_cosine"],
                **{f"{shape}_N": columns[shape] for shape in SHAPES},
                features=self._features[name],
                original_features=self._originals,
                classes=self._classes[name],
                pixels_NP=columns["pixels"],
                hidden_NP=hidden_NP,
                sampled_N=self._sampled_N,
                featured_N=self._featured_N,
                rows_N=self._rows_N,
            )
        return found

    def _here(self, wanted_N: NDArray[np.int64], num: int) -> Tensor:
        """Places in the next `num` images of those wanted, which are in order."""
        first, last = np.searchsorted(wanted_N, (self._count, self._count + num))
        return torch.from_numpy(wanted_N[first:last] - self._count)

    def _complete_with_loss(self, name: str, images: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        model = self.models[name]
        if _offers_both(model):
            output, loss_B = model.complete_and_loss(images, visible)
        else:
            output = model.complete(images, visible, generator=self._complete_with[name])
            loss_B = model.training_loss(images, visible, generator=self._loss_with[name])
        if not output.isfinite().all():
            raise UserError(
                f"the {name} model's outputs on the set {self._set_name} are not finite; "
                "its weights are broken, make the model again"
            )
        return output, loss_B

    def _note_hidden(self, images_BCHW: Tensor, visible_BHW: Tensor, kept: Tensor) -> None:
        hidden_BCHW = (~visible_BHW).unsqueeze(1).expand_as(images_BCHW)
        if self._pixels_P is None:
            self._pixels_P = self._choose_pixels(hidden_BCHW)
        self._hidden.add(hidden_BCHW.flatten(1)[kept][:, self._pixels_P])

    def _features_of(self, images_BCHW: Tensor, wanted: Tensor) -> Tensor:
        if not len(wanted):
            return torch.empty(0, self.extractor.num_features)
        if len(wanted) < len(images_BCHW):
            images_BCHW = images_BCHW[wanted.to(images_BCHW.device)]
        return self.extractor(images_BCHW)

    def _note_features(self, name: str, features_BD: Tensor, original_BD: Tensor) -> Tensor:
        """Add a model's features; their cosine with the originals'."""
        self._features[name].add(features_BD)
        classes = self._classes[name]
        if classes is not None and isinstance(self.extractor, Classifier) and len(features_BD):
            classes.add(self.extractor.logits(features_BD))
        return torch.from_numpy(cosine(features_BD.numpy(), original_BD.numpy()))

    def _choose_pixels(self, hidden_BCHW: Tensor) -> Tensor:
        """Some of the pixels that an image of the first batch hides, in order."""
        candidates = hidden_BCHW.flatten(1).any(0).nonzero().flatten()
        rng = np.random.default_rng(derive_seed(self._seed, "evaluate", "pixels"))
        chosen = rng.choice(len(candidates), min(MOST_PIXELS, len(candidates)), replace=False)
        return candidates[torch.from_numpy(np.sort(chosen))]

    def _facts(
        self, name: str, output: Tensor, completed: Mapping[str, Tensor], images: Tensor, visible: Tensor
    ) -> dict[str, Tensor]:
        references = [other for other in completed if is_reference(other) and other != name]
        return {
            "hole_error": hole_error(output, images, visible),
            **shapes_of(output, images, visible),
            **{other: hole_error(output, completed[other], visible) for other in references},
        }


def _offers_both(model: Any) -> bool:
    """Not where a subclass has a `complete` or `training_loss` of its own: then what it inherits is another's."""
    if not isinstance(model, CompletesWithLoss):
        return False
    names = ("complete_and_loss", "complete", "training_loss")
    return len({next(owner for owner in type(model).__mro__ if name in vars(owner)) for name in names}) == 1


def _some_of(num: int, most: int, seed: int, *purpose: str) -> NDArray[np.int64]:
    """At most `most` of the numbers below `num`, in order; drawn at random where there are more."""
    if num <= most:
        return np.arange(num)
    rng = np.random.default_rng(derive_seed(seed, "evaluate", *purpose))
    return np.sort(rng.choice(num, most, replace=False))


def _class_sums(extractor: Extractor) -> ClassSums | None:
    return ClassSums(extractor.num_parts) if isinstance(extractor, Classifier) else None


def _to_device(visible_BHW: Tensor, device: torch.device) -> Tensor:
    """Move masks; one mask expanded over the batch (stride 0) stays so: families then encode without padding."""
    if visible_BHW.stride(0) == 0:
        return visible_BHW[:1].to(device).expand(len(visible_BHW), -1, -1)
    return visible_BHW.to(device)
