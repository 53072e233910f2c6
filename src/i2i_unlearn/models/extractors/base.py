"""What a feature extractor must offer.

Shape letters: B batch, C channels, H, W pixels, D features, K classes.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor


class Extractor(Protocol):
    """Says what is in a picture, as numbers."""

    num_features: int

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Features (B, D), float32 on the CPU, of images in [-1, 1] with 1 or 3 channels, of any size."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """What an extractor offers in addition if its network also classifies."""

    num_parts: int
    """Into how many parts the score of its classes divides the images (class_sums.py)."""

    def logits(self, features_BD: Tensor) -> Tensor:
        """Logits (B, K) of its own classes, from its features; on the CPU."""
        ...


def three_channels(images_BCHW: Tensor) -> Tensor:
    """Grey images as RGB; a view."""
    return images_BCHW.expand(-1, 3, -1, -1)
