"""Which images a step sees. Stateless: the batch of step 900 is a function of the seed and 900, interrupted or not.

Shape letters: B batch, C channels, H, W pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from i2i_unlearn.method.objectives.base import Batch
from i2i_unlearn.models.operators import Operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import derive_seed, generator_for


@dataclass(frozen=True)
class Pool:
    """Images of one set, and how many of each part of it a step takes."""

    images_BCHW: Tensor
    """uint8; a quarter of the memory of floats. On the device that trains."""
    parts: tuple[tuple[int, int], ...]
    """(number of images, images per step) of consecutive parts, e.g. real and proxy retain images."""


def single_pool(images_BCHW: Tensor, batch_size: int) -> Pool:
    """A set of one part. Batches larger than the set see images more than once."""
    return Pool(images_BCHW, ((len(images_BCHW), batch_size),))


Draw = Callable[[str, int, torch.Generator], tuple[Tensor, ...]]
"""What the encoder sees of chance: name of the set, number of images -> one row per image (models/base.py)."""


class Sampler:
    """Draws the batches of a step: without replacement within an epoch, masks and `draw` once per image."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        operator: Operator,
        seed: int,
        draw: Draw | None = None,
        stems: Mapping[str, Tensor] | None = None,
    ) -> None:
        """`stems`, where given, holds a row for each image of each set (training/frozen_stem.py)."""
        self.pools = pools
        self.operator = operator
        self.seed = seed
        self._draw = draw
        self._stems = stems or {}
        self._orders: dict[tuple[str, int], tuple[int, Tensor]] = {}

    def batches(self, step: int) -> dict[str, Batch]:
        """One batch of each set; `step` counts from 0."""
        return {name: self._batch(name, pool, step) for name, pool in self.pools.items()}

    def _batch(self, name: str, pool: Pool, step: int) -> Batch:
        rows_B = self._rows(name, pool, step)
        images_BCHW = pool.images_BCHW[rows_B.to(pool.images_BCHW.device)]
        height, width = images_BCHW.shape[-2:]
        visible_BHW = self.operator.draw(len(rows_B), height, width, generator_for(self.seed, "masks", name, step))
        device = images_BCHW.device
        drawn = self._draw(name, len(rows_B), generator_for(self.seed, "draws", name, step)) if self._draw else ()
        draws = tuple(part.to(device) for part in drawn)
        stem = self._stems[name][rows_B.to(device)] if name in self._stems else None
        return Batch(to_float(images_BCHW), _to_device(visible_BHW, device), rows_B, step, draws, stem)

    def _rows(self, name: str, pool: Pool, step: int) -> Tensor:
        parts, start = [], 0
        for part, (size, per_step) in enumerate(pool.parts):
            if per_step:
                positions = torch.arange(step * per_step, (step + 1) * per_step)
                parts.append(start + self._shuffled(name, part, size, positions))
            start += size
        return torch.cat(parts)

    def _shuffled(self, name: str, part: int, size: int, positions: Tensor) -> Tensor:
        """Rows at `positions` of an endless sequence of permutations of range(size), one an epoch."""
        epochs = positions // size
        pieces = [
            self._order(name, part, size, epoch)[positions[epochs == epoch] % size]
            for epoch in range(int(epochs[0]), int(epochs[-1]) + 1)
        ]
        return torch.cat(pieces)

    def _order(self, name: str, part: int, size: int, epoch: int) -> Tensor:
        kept_epoch, order = self._orders.get((name, part), (-1, torch.empty(0)))
        if kept_epoch != epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", name, part, epoch))
            order = torch.randperm(size, generator=generator)
            self._orders[name, part] = (epoch, order)
        return order


def _to_device(visible_BHW: Tensor, device: torch.device) -> Tensor:
    """Move masks; one mask expanded over the batch (stride 0) is moved once and stays expanded."""
    if visible_BHW.stride(0) == 0:
        return visible_BHW[:1].to(device).expand(len(visible_BHW), -1, -1)
    return visible_BHW.to(device)
