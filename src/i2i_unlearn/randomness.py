"""Random streams that depend on a seed and a purpose, never on what was drawn before.

Step 900 of a run draws the same numbers whether the run was interrupted or not, so no generator state is stored.
"""

import hashlib

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose; different purposes give independent streams."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose. Draw on the CPU and move: the numbers then do not depend on the device."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))
