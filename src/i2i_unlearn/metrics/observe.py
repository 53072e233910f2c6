"""Sees every image once: each model completes it once, and each completion is embedded once.

Memory does not grow with the size of images: what is kept of an image are numbers, its features and a few pixels.
Shape letters: B batch, C channels, H, W pixels, N images, D features, P sampled hole pixels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i_unlearn.errors import UserError
from i2i_unlearn.metrics.extractors import Extractor
from i2i_unlearn.metrics.hole_psnr import hole_error
from i2i_unlearn.metrics.observations import Observations
from i2i_unlearn.metrics.output_spread import MOST_PIXELS
from i2i_unlearn.operators import Operator
from i2i_unlearn.randomness import derive_seed, generator_for


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


class SetObserver:
    """Gathers `Observations` of all models on one set, batch by batch."""

    def __init__(
        self, models: Mapping[str, Any], extractor: Extractor, *, set_name: str, seed: int, device: torch.device
    ) -> None:
        self._models = models
        self._extractor = extractor
        self._set_name = set_name
        self._seed = seed
        self._device = device
        # Every model is given the same random numbers, so that they do not add to the difference between models.
        self._complete_with = {name: generator_for(seed, "evaluate", "complete", set_name) for name in models}
        self._loss_with = {name: generator_for(seed, "evaluate", "loss", set_name) for name in models}
        self._pixels_P: Tensor | None = None
        self._hidden: list[Tensor] = []
        self._originals: list[Tensor] = []
        self._parts: dict[str, list[dict[str, Tensor]]] = {name: [] for name in models}

    @torch.inference_mode()
    def see(self, images_BCHW: Tensor, visible_BHW: Tensor) -> Seen:
        """Let all models complete a batch (on the CPU, in [-1, 1]) and note what metrics need."""
        images, visible = images_BCHW.to(self._device), _to_device(visible_BHW, self._device)
        completed = {name: self._complete(name, images, visible) for name in self._models}
        self._note_shared(images_BCHW, visible_BHW)
        for name, output_BCHW in completed.items():
            self._parts[name].append(self._facts(name, output_BCHW, completed, images, visible))
        return Seen(
            images_BCHW=images_BCHW,
            visible_BHW=visible_BHW,
            completed={name: output.cpu() for name, output in completed.items()},
            hole_error={name: parts[-1]["hole_error"] for name, parts in self._parts.items()},
        )

    def observations(self) -> dict[str, Observations]:
        """By model."""
        hidden_NP = torch.cat(self._hidden).numpy()
        original_ND = torch.cat(self._originals).numpy()
        found = {}
        for name, parts in self._parts.items():
            columns = {key: torch.cat([part[key] for part in parts]).numpy() for key in parts[0]}
            found[name] = Observations(
                hole_error_N=columns["hole_error"],
                reference_error_N=columns.get("reference_error"),
                own_loss_N=columns["own_loss"],
                features_ND=columns["features"],
                original_features_ND=original_ND,
                pixels_NP=columns["pixels"],
                hidden_NP=hidden_NP,
            )
        return found

    def _complete(self, name: str, images: Tensor, visible: Tensor) -> Tensor:
        output: Tensor = self._models[name].complete(images, visible, generator=self._complete_with[name])
        if not output.isfinite().all():
            raise UserError(
                f"the {name} model's outputs on the set {self._set_name} are not finite; "
                "its weights are broken, make the model again"
            )
        return output

    def _note_shared(self, images_BCHW: Tensor, visible_BHW: Tensor) -> None:
        hidden_BCHW = (~visible_BHW).unsqueeze(1).expand_as(images_BCHW)
        if self._pixels_P is None:
            self._pixels_P = self._choose_pixels(hidden_BCHW)
        self._hidden.append(hidden_BCHW.flatten(1)[:, self._pixels_P])
        self._originals.append(self._extractor(images_BCHW))

    def _choose_pixels(self, hidden_BCHW: Tensor) -> Tensor:
        """Some of the pixels that an image of the first batch hides, in order."""
        candidates = hidden_BCHW.flatten(1).any(0).nonzero().flatten()
        rng = np.random.default_rng(derive_seed(self._seed, "evaluate", "pixels"))
        chosen = rng.choice(len(candidates), min(MOST_PIXELS, len(candidates)), replace=False)
        return candidates[torch.from_numpy(np.sort(chosen))]

    def _facts(
        self, name: str, output: Tensor, completed: Mapping[str, Tensor], images: Tensor, visible: Tensor
    ) -> dict[str, Tensor]:
        loss_B = self._models[name].training_loss(images, visible, generator=self._loss_with[name])
        facts = {
            "hole_error": hole_error(output, images, visible),
            "own_loss": loss_B.float(),
            "features": self._extractor(output),
            "pixels": (output.flatten(1)[:, self._pixels_P] + 1) / 2,
        }
        if name != "reference" and "reference" in completed:
            facts["reference_error"] = hole_error(output, completed["reference"], visible)
        return {key: value.cpu() for key, value in facts.items()}


def _to_device(visible_BHW: Tensor, device: torch.device) -> Tensor:
    """Move masks; one mask expanded over the batch (stride 0) stays so: families then encode without padding."""
    if visible_BHW.stride(0) == 0:
        return visible_BHW[:1].to(device).expand(len(visible_BHW), -1, -1)
    return visible_BHW.to(device)
