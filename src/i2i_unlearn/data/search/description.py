"""92 bytes that describe a picture so that copies of it are found, crops and mirror images too.

A perceptual hash (data/split/picture_hash.py) keeps the signs of the lowest 8x8 frequencies of a small grey picture.
Here their values are kept: copies that change many signs, crops above all, still point in the same direction.

    x      the picture's frequencies without the mean, each times the square root of its distance from 0: in photographs
           the lowest are the largest and would drown the others
    C_b    the map (64, 64) from x to the same numbers of the part b of the picture; nearly exact, since a part of a
           picture is a linear function of it, so parts need not be stored
    q      the same numbers of a photograph, turned or mirrored, of length 1

    similarity = max over parts b and turns of q:  q . C_b x / |C_b x|  =  (C_b^T q) . x / |C_b x|

Stored are x in 64 bytes and the lengths |C_b x|, one for each part: one matrix product compares a photograph with
thousands of images. -1 = the negative, 0 = unrelated, 1 = a copy.

Shape letters: N images, D numbers of a description (64), B parts, K templates of a photograph, H, W pixels (32x32).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dct

from i2i_unlearn.data.split.picture_hash import SIDE, Box, boxes, resampling, thumbnail

VERSION = 1
"""Descriptions of another version cannot be compared."""
_FREQUENCIES = 8
NUM_VALUES = _FREQUENCIES**2
_CORNERS, _PARTS = boxes((0.9,), (0, 1)), boxes((0.8,), (0, 0.5, 1))
PARTS: list[Box] = [*_CORNERS, *_PARTS[1:]]
"""The whole picture first. A copy that shows another part than these is found by the nearest of them."""
_FLAT = 1e-3
_LARGEST = 127


class Descriptions(NamedTuple):
    """Of N images."""

    values: NDArray[np.int8]
    """(N, D): x, times a factor of its own for each image."""
    lengths: NDArray[np.float16]
    """(N, B): |C_b x|, times the same factor."""


class Templates(NamedTuple):
    """Of one photograph: what is compared with every image."""

    values: NDArray[np.float32]
    """(K, D)."""
    parts: NDArray[np.int64]
    """(K): the part of the image that each is compared with."""


def describe(thumbnails_NHW: NDArray[np.uint8]) -> Descriptions:
    """Descriptions of thumbnails (data/split/picture_hash.py). A picture of one grey level becomes zeros."""
    values_ND = _values(thumbnails_NHW)
    largest_N = np.abs(values_ND).max(axis=1, keepdims=True)
    rounded_ND = np.round(values_ND * (_LARGEST / np.maximum(largest_N, _FLAT))).astype(np.int8)
    of_parts = (rounded_ND.astype(np.float32) @ map_DD.T for map_DD in MAPS)
    lengths_NB = np.stack([np.linalg.norm(part_ND, axis=1) for part_ND in of_parts], axis=1)
    return Descriptions(rounded_ND, lengths_NB.astype(np.float16))


def templates(picture: Image.Image) -> Templates:
    """What to look for: the photograph or a turned or mirrored one, as a part of an image or the other way round."""
    upright_HW = thumbnail(picture)
    both_HW = [upright_HW, upright_HW[:, ::-1]]
    values_KD = _unit(_values(np.stack(turned(upright_HW))))
    found = [(part, values_KD[:2] @ map_DD) for part, map_DD in enumerate(MAPS)]  # the photograph is a part
    found += [(0, values_KD[2:])]
    found += [(0, _unit(_values(np.stack(both_HW)) @ map_DD.T)) for map_DD in MAPS[1:]]  # the image is a part
    if picture.width != picture.height:
        middle_HW = thumbnail(middle_square(picture))
        found += [(0, _unit(_values(np.stack([middle_HW, middle_HW[:, ::-1]]))))]
    parts = [np.full(len(values), part) for part, values in found]
    return Templates(np.concatenate([values for _, values in found]).astype(np.float32), np.concatenate(parts))


def similarities(template: Templates, images: Descriptions) -> NDArray[np.float32]:
    """For each image (N) the similarity to the photograph; 0 for an image of one grey level."""
    products_KN = template.values @ images.values.astype(np.float32).T
    lengths_BN = np.maximum(images.lengths.astype(np.float32).T, 1)
    best_N = np.full(len(images.values), -1, dtype=np.float32)
    for part in np.unique(template.parts).tolist():
        np.maximum(best_N, products_KN[template.parts == part].max(axis=0) / lengths_BN[part], out=best_N)
    return best_N


def is_flat(picture: Image.Image) -> bool:
    """Whether the picture has one grey level only, so that it resembles nothing."""
    return int(np.ptp(thumbnail(picture))) == 0


def middle_square(picture: Image.Image) -> Image.Image:
    """What importers and apps cut out of a photograph that is not square."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def turned(picture_HW: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """A square picture upright, mirrored, and in the six other ways to lay it down."""
    return [both for way in (picture_HW, picture_HW.T) for row in (way, way[::-1]) for both in (row, row[:, ::-1])]


def _values(thumbnails_NHW: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The numbers x (N, D)."""
    grey_NHW = thumbnails_NHW.astype(np.float32)
    spectra = _WAVES @ (grey_NHW - grey_NHW.mean(axis=(1, 2), keepdims=True)) @ _WAVES.T
    return np.asarray(spectra.reshape(-1, NUM_VALUES) * _WEIGHTS, dtype=np.float32)


def _unit(values_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths_N = np.linalg.norm(values_ND, axis=1, keepdims=True)
    return np.asarray(values_ND / np.maximum(lengths_N, _FLAT), dtype=np.float32)


def _part_of(box: Box) -> NDArray[np.float32]:
    """C_b (D, D); the identity for the whole picture. The mean is not known and taken as 0."""
    share, down, right = box
    rows, columns = (_WAVES @ resampling(share, place) @ _WAVES.T for place in (down, right))
    inverse = np.divide(1, _WEIGHTS, out=np.zeros_like(_WEIGHTS), where=_WEIGHTS > 0)
    return np.asarray(_WEIGHTS[:, None] * np.kron(rows, columns) * inverse, dtype=np.float32)


_WAVES: NDArray[np.float32] = dct(np.eye(SIDE), axis=0, norm="ortho")[:_FREQUENCIES].astype(np.float32)
_STEPS = np.arange(_FREQUENCIES, dtype=np.float32)
_WEIGHTS = np.sqrt(np.hypot(_STEPS[:, None], _STEPS)).reshape(-1).astype(np.float32)
MAPS = [_part_of(box) for box in PARTS]
