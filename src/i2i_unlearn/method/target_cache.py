"""Keeps the outputs of a frozen model for the images of a set, as many rows as a budget of bytes allows."""

from collections.abc import Callable

from torch import Tensor

CHUNK = 128  # images in one teacher pass; fixed, so that a restarted run gets the same bits

Compute = Callable[[Tensor], tuple[Tensor, ...]]
"""uint8 images (B, C, H, W) -> tensors of one row per image."""


class RowCache:
    """Tensors of the first rows of each set, computed once. All sets share one budget; the first to come takes it."""

    def __init__(self, budget_bytes: int) -> None:
        """`budget_bytes` 0 = keep nothing."""
        self.free_bytes = budget_bytes
        self._kept: dict[str, tuple[Tensor, ...]] = {}

    @property
    def held_bytes(self) -> int:
        """What is kept, in bytes."""
        return sum(part.nbytes for parts in self._kept.values() for part in parts)

    def rows(self, name: str, images: Tensor, rows_B: Tensor, compute: Compute) -> tuple[Tensor, ...] | None:
        """The tensors of these rows of the set `images`, kept under `name`; None where one of them is not kept."""
        if name not in self._kept:
            self._kept[name] = self._fill(images, compute)
        kept = self._kept[name]
        if not bool((rows_B < len(kept[0])).all()):  # asked where the rows are: a GPU need not be waited for
            return None
        rows_B = rows_B.to(kept[0].device)
        return tuple(part[rows_B] for part in kept)

    def _fill(self, images: Tensor, compute: Compute) -> tuple[Tensor, ...]:
        first = compute(images[:1])
        per_image = sum(part.nbytes for part in first)
        count = min(len(images), self.free_bytes // per_image)
        self.free_bytes -= count * per_image
        return in_chunks(images[:count], compute) if count else tuple(part[:0] for part in first)


def in_chunks(images: Tensor, compute: Compute) -> tuple[Tensor, ...]:
    """`compute` of all images, `CHUNK` at a time; the results are written in place, never held twice."""
    whole: tuple[Tensor, ...] = ()
    for start in range(0, len(images), CHUNK):
        parts = compute(images[start : start + CHUNK])
        whole = whole or tuple(part.new_empty(len(images), *part.shape[1:]) for part in parts)
        for place, part in zip(whole, parts, strict=True):
            place[start : start + CHUNK] = part
    return whole
