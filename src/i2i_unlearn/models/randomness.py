"""Random streams that depend on a seed and a purpose, never on what was drawn before.

Step 900 of a run draws the same numbers whether the run was interrupted or not, so no generator state is stored.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose; different purposes give independent streams."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose. Draw on the CPU and move: the numbers then do not depend on the device."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


@dataclass(frozen=True)
class Share:
    """Which rows of a larger batch a batch holds, where several processes share it (processes.py)."""

    rows_B: Tensor
    num_rows: int
    """Of the larger batch."""


class SharedGenerator(torch.Generator):
    """A generator for some rows of a larger batch.

    Those who draw through `drawn` get what these rows would get there; others draw as from any generator.
    """

    share: Share


def generator_of_share(share: Share | None, seed: int, *purpose: str | int) -> torch.Generator:
    """`generator_for` where a batch is whole; else one that knows which rows of it are asked for."""
    if share is None:
        return generator_for(seed, *purpose)
    generator = SharedGenerator()
    generator.manual_seed(derive_seed(seed, *purpose))
    generator.share = share
    return generator


def drawn(num: int, generator: torch.Generator, draw: Callable[[int], Tensor]) -> Tensor:
    """`draw(num)`, one row per image; of a share, its rows of what the whole batch draws."""
    if not isinstance(generator, SharedGenerator):
        return draw(num)
    return draw(generator.share.num_rows)[generator.share.rows_B]
