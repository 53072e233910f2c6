"""Small grey versions of pictures, their perceptual hashes, and the crops and mirror images of them.

The hash is pHash as the package imagehash computes it (Zauner, "Implementation and Benchmarking of Perceptual Image
Hash Functions", 2010): of the 8x8 lowest frequencies of a 32x32 grey picture, one bit each says whether it is above
their median. Here it is computed for all pictures at once; one at a time takes ten times as long.

Shape letters: N pictures, K versions of a picture, H, W pixels of a thumbnail (32x32).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

SIDE = 32
_FREQUENCIES = 8
Thumbnails = NDArray[np.float32]
Hashes = NDArray[np.uint64]
Box = tuple[float, float, float]
"""Share of height and width, and position from 0 (top, left) to 1 (bottom, right): (share, down, right)."""
WHOLE: Box = (1.0, 0.0, 0.0)


def boxes(shares: Sequence[float], places: Sequence[float]) -> list[Box]:
    """The whole picture first, then each share at each pair of positions."""
    return [WHOLE, *((share, down, right) for share in shares for down in places for right in places)]


def thumbnail(picture: Image.Image) -> NDArray[np.uint8]:
    """The whole picture as grey (32, 32), squashed to a square."""
    return np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.uint8)


def hashes(pictures_NHW: NDArray[np.floating] | NDArray[np.uint8]) -> Hashes:
    """One 64-bit hash (N) for each thumbnail; the distance of two is the number of differing bits."""
    lowest = dctn(pictures_NHW.astype(np.float32), axes=(1, 2))[:, :_FREQUENCIES, :_FREQUENCIES]
    flat = lowest.reshape(len(pictures_NHW), -1)
    bits = np.packbits(flat > np.median(flat, axis=1, keepdims=True), axis=1)
    return np.ascontiguousarray(bits).view(np.uint64)[:, 0]


def versions(pictures_NHW: NDArray[np.uint8], cut: Sequence[Box]) -> Thumbnails:
    """Each box of each thumbnail at full size, upright and mirrored: (N, K, H, W), K = 2 * len(cut).

    Version 2 * k is box k, version 2 * k + 1 its mirror image.
    """
    rows_KHH, columns_KWW = _matrices(tuple(cut))
    upright = rows_KHH @ pictures_NHW[:, None].astype(np.float32) @ columns_KWW
    both = np.stack([upright, upright[..., ::-1]], axis=2)
    return both.reshape(len(pictures_NHW), -1, SIDE, SIDE)


@lru_cache
def _matrices(cut: tuple[Box, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The matrices that stretch the rows and the columns of each box."""
    rows = [resampling(share, down) for share, down, _ in cut]
    columns = [resampling(share, right).T for share, _, right in cut]
    return np.stack(rows), np.ascontiguousarray(np.stack(columns))


def resampling(share: float, place: float) -> NDArray[np.float32]:
    """Matrix (H, H) that stretches a part of a line to the whole of it, by linear interpolation."""
    source = (np.arange(SIDE) + 0.5) * share + place * (1 - share) * SIDE - 0.5
    source = source.clip(0, SIDE - 1)
    low = np.floor(source).astype(int).clip(0, SIDE - 2)
    weight = (source - low).astype(np.float32)
    matrix = np.zeros((SIDE, SIDE), dtype=np.float32)
    matrix[np.arange(SIDE), low] = 1 - weight
    matrix[np.arange(SIDE), low + 1] += weight
    return matrix


def standardised(pictures: NDArray[np.floating] | NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails (..., H, W) as vectors (..., H * W) of mean 0 and length 1, whose product is the correlation.

    A picture of one grey level becomes zeros, which correlate with nothing.
    """
    flat = pictures.reshape(*pictures.shape[:-2], -1).astype(np.float32)
    flat = flat - flat.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(flat, axis=-1, keepdims=True)
    return np.asarray(flat / np.maximum(length, 1e-6), dtype=np.float32)
