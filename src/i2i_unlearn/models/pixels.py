"""The two ranges of pixels: bytes in files and memory, [-1, 1] in models."""

import torch
from torch import Tensor


def to_float(pixels: Tensor) -> Tensor:
    """From uint8 [0, 255] to float32 [-1, 1]; `to_uint8(to_float(x)) == x`. Always a new tensor."""
    return (pixels.float() / 127.5).sub_(1)


def to_uint8(pixels: Tensor) -> Tensor:
    """From float [-1, 1] to uint8 [0, 255]; what lies outside is clamped."""
    return ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
