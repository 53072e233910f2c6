"""The last check of near-copies: do the features of a pretrained network agree that both show the same?"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageOps

from i2i_unlearn.data.images.reading import iter_pictures
from i2i_unlearn.data.split.picture_hash import Box
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.progress import progress

if TYPE_CHECKING:  # importing torch takes seconds, and most splits have no pair to compare
    from i2i_unlearn.models.extractors import Extractor

EXTRACTOR = "efficientnet_lite0"
_SIDE = 96  # what the network sees
_BLOCK = 25


def feature_cosines(images: str, index: pd.DataFrame, pairs: pd.DataFrame) -> NDArray[np.float64]:
    """Cosine of the features of each pair: of the copy, and of the part of the anchor that it shows.

    `pairs` (as `near_copies` returns them) name images by their position in `index` (columns shard, row).

    Raises:
        UserError: an image is damaged, or the extractor's package is not installed: deciding without it would give
            other roles for the same settings on another machine.
    """
    import torch

    from i2i_unlearn.models.extractors import load_extractor

    try:
        extractor = load_extractor(EXTRACTOR, torch.device("cpu"))
    except UserError as error:
        raise UserError(
            f"near-copies were found, and split.near_duplicates.cosine asks for {EXTRACTOR} to confirm them: {error};"
            " or set split.near_duplicates.cosine to 0 to decide by pixels alone"
        ) from None
    cosines: list[NDArray[np.float64]] = []
    with progress("comparing features", len(pairs)) as advance:
        for start in range(0, len(pairs), _BLOCK):
            block = pairs.iloc[start : start + _BLOCK]
            cosines.append(_cosines(extractor, _pictures(images, index, block), block))
            advance(len(block))
    return np.concatenate(cosines)


def _pictures(images: str, index: pd.DataFrame, pairs: pd.DataFrame) -> dict[int, Image.Image]:
    """The pictures of these pairs, by number; each is read once."""
    numbers = sorted({*pairs["anchor"], *pairs["copy"]})
    pictures = iter_pictures(images, index.iloc[numbers])
    return {number: picture.convert("RGB") for number, picture in zip(numbers, pictures, strict=True)}


def _cosines(extractor: "Extractor", pictures: dict[int, Image.Image], pairs: pd.DataFrame) -> NDArray[np.float64]:
    import torch
    import torch.nn.functional as F

    anchors = [
        _part(pictures[anchor], box, mirrored)
        for anchor, box, mirrored in zip(pairs["anchor"], pairs["box"], pairs["mirrored"], strict=True)
    ]
    copies = [_part(pictures[copy], (1.0, 0.0, 0.0), False) for copy in pairs["copy"]]
    pixels = torch.from_numpy(np.stack([*anchors, *copies])).permute(0, 3, 1, 2)
    of_anchors, of_copies = extractor(pixels.float() / 127.5 - 1).double().chunk(2)
    return np.asarray(F.cosine_similarity(of_anchors, of_copies).numpy(), dtype=np.float64)


def _part(picture: Image.Image, box: Box, mirrored: bool) -> NDArray[np.uint8]:
    share, down, right = box
    width, height = picture.width * share, picture.height * share
    left, top = (picture.width - width) * right, (picture.height - height) * down
    cut = (left, top, left + width, top + height)
    part = picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, box=cut)
    return np.asarray(ImageOps.mirror(part) if mirrored else part)
