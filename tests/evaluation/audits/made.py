"""Models whose loss on each image is known: what they make of an image is a grey of their own."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i_unlearn.evaluation.audits.base import AuditInputs
from tests.evaluation.audits.guilty import SIZE, inputs_of

Losses = Mapping[str, NDArray[np.float64]]
"""By set."""


class Told:
    """A model whose loss is looked up: an image's first pixel names its set, the next two its row."""

    def __init__(self, losses: Losses, calls: list[int] | None = None) -> None:
        self._losses = losses
        self.calls = [] if calls is None else calls

    def training_loss(self, images_BCHW: Tensor, visible_BHW: Tensor, *, generator: torch.Generator) -> Tensor:
        self.calls.append(len(images_BCHW))
        pixels = ((images_BCHW.flatten(1)[:, :3] + 1) * 127.5).round().long().tolist()
        return torch.tensor([self._losses[_SETS[of]][256 * high + low] for of, high, low in pixels])

    def complete(self, images_BCHW: Tensor, visible_BHW: Tensor, *, generator: torch.Generator) -> Tensor:
        self.calls.append(len(images_BCHW))
        return torch.zeros_like(images_BCHW)


_SETS = ("forget", "retain", "forget_holdout", "retain_holdout")


def images_of(set_name: str, num: int) -> Tensor:
    """uint8 images that `Told` knows."""
    images = torch.zeros(num, SIZE * SIZE, dtype=torch.uint8)
    images[:, 0] = _SETS.index(set_name)
    images[:, 1] = torch.arange(num) // 256
    images[:, 2] = torch.arange(num) % 256
    return images.reshape(num, 1, SIZE, SIZE)


def told(losses: Mapping[str, Losses], change: Callable[[Tensor], Tensor] = lambda images: images) -> AuditInputs:
    """Inputs of models with these losses, by model and set."""
    sets = {name: change(images_of(name, len(values))) for name, values in next(iter(losses.values())).items()}
    return inputs_of({name: Told(own) for name, own in losses.items()}, sets, num_completions=2)
