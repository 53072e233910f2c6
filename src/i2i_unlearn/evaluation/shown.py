"""What an evaluation shows of images: grids of completions and a map of embeddings, as plain arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Chosen = Literal["random", "worst", "exposed"]
"""exposed = an audit's worst images."""


@dataclass(frozen=True, kw_only=True)
class PictureGrid:
    """Pictures of one set: the same images as every model completes them."""

    set_name: str
    """forget | retain | forget_holdout | retain_holdout"""
    chosen: Chosen
    caption: str
    """How these images were chosen, in words a reader understands."""
    rows: Mapping[str, NDArray[np.uint8]]
    """In the order to show: image, masked and the models; (N, H, W, C)."""
    scores_db: Mapping[str, Sequence[float]]
    """Hole PSNR of each picture, N numbers, by model."""
    codes: Sequence[str] = ()
    """Keyed codes of the images where they are shown, else empty."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingMap:
    """A t-SNE map: one point for each image and model."""

    caption: str
    """What was embedded, by what, and how many images."""
    points_N2: NDArray[np.float32]
    models: Sequence[str]
    """Of each point: teacher, unlearned or reference."""
    sets: Sequence[str]
    """Of each point: the set of its image."""
