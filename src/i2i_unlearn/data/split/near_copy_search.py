"""Near-copies of images that are to be forgotten: re-encoded, resized, brightened, slightly cropped, mirrored.

A model that still learns a near-copy has not forgotten the image. Three checks, each of fewer pairs than the last:

    1. perceptual hash   candidates: the hash of the image, of its crops or of their mirror images differs from the
                         other image's in few bits (picture_hash.py); packed bits, blocks of images
    2. pixels            the best correlation of the other's thumbnail with any of 126 crops of the image and their
                         mirror images. It separates copies from look-alikes even in tiny pictures: two handwritten 3s
                         reach 0.95, copies of one 0.98 and more
    3. features          a veto (near_copy_features.py): smooth gradients correlate whatever they show. Features alone
                         do not suffice: those of two 3s are closer than those of a 3 and its JPEG

The other image may be a crop of the first, not the reverse. A picture without structure (a blank page) has only exact
copies, since nothing distinguishes it from another blank page. Copies of copies are not followed: chains of look-alikes
would lead away from the request.

Shape letters: N images, K versions of one (crops and mirror images), H, W pixels of a thumbnail.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from i2i_unlearn.config.sections import NearDuplicateSettings
from i2i_unlearn.data.images.reading import iter_pictures
from i2i_unlearn.data.split.near_copy_features import EXTRACTOR, feature_cosines
from i2i_unlearn.data.split.picture_hash import SIDE, Box, Hashes, boxes, hashes, standardised, thumbnail, versions
from i2i_unlearn.support.progress import progress

Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Thumbnails = NDArray[np.uint8]
"""Every image, small and grey."""

# Crops whose hashes are compared: a hash tolerates a shift of a pixel or two, so few suffice.
_HASHED = boxes((0.94, 0.88), (0, 0.5, 1))
# Crops whose pixels are compared; a line of 32 pixels shifts by 1 or 2 from one to the next.
_ALIGNED = boxes((0.96, 0.93, 0.9, 0.87, 0.84), (0, 0.25, 0.5, 0.75, 1))
# Standard deviation of a thumbnail, in grey levels of 255: flatter pictures correlate by noise and shade alone.
_MIN_DEVIATION = 6.0
# How much lower the correlation may be before alignment; of test copies one corner crop in a hundred loses more.
_UNALIGNED = 0.18
_BLOCK = 64


class Pair(NamedTuple):
    """An image and a near-copy of it."""

    anchor: int
    copy: int
    hash_bits: int
    """How many of the 64 bits differ."""
    correlation: float
    box: Box
    """The part of the anchor that the copy shows."""
    mirrored: bool


class Search:
    """The search among the images of an index (a `near_copy_rules.FindPairs`); records what confirmed its pairs."""

    def __init__(self, images: str, index: pd.DataFrame, settings: NearDuplicateSettings) -> None:
        """`images` is the URI of the image shards, `index` has the columns shard and row."""
        self.confirmed_by = "nothing to confirm"
        self._images, self._index, self._settings = images, index, settings

    def __call__(self, anchors: Flags, others: Flags) -> pd.DataFrame:
        """Pairs of an image of `anchors` and one of `others`: the columns of `Pair`, and cosine (NaN = not computed).

        Raises:
            UserError: an image is damaged, or features are required and their package is not installed.
        """
        pairs = near_copies(read_thumbnails(self._images, self._index), anchors, others, self._settings)
        pairs["cosine"] = np.nan
        if not len(pairs):
            return pairs
        self.confirmed_by = "pixels"
        if not self._settings.cosine:
            return pairs
        cosines = feature_cosines(self._images, self._index, pairs)
        self.confirmed_by = f"pixels and {EXTRACTOR}"
        pairs["cosine"] = cosines
        return pairs[pairs["cosine"] >= self._settings.cosine]


def read_thumbnails(images: str, index: pd.DataFrame) -> Thumbnails:
    """Thumbnails (N, H, W) of every image of `index` (columns shard, row), each read once.

    Raises:
        UserError: an image is damaged.
    """
    pictures = np.empty((len(index), SIDE, SIDE), dtype=np.uint8)
    with progress("looking for near-copies", len(index)) as advance:
        for number, picture in enumerate(iter_pictures(images, index)):
            pictures[number] = thumbnail(picture)
            advance()
    return pictures


def near_copies(seen_NHW: Thumbnails, anchors: Flags, others: Flags, settings: NearDuplicateSettings) -> pd.DataFrame:
    """Pairs of an image of `anchors` and a near-copy of it among `others`, confirmed by pixels.

    One row per `Pair`, sorted by anchor, then copy; images by number; no image is its own copy.
    """
    has_structure = seen_NHW.std(axis=(1, 2)) >= _MIN_DEVIATION
    copies, starts = np.flatnonzero(others & has_structure), np.flatnonzero(anchors & has_structure)
    pairs: list[Pair] = []
    if len(copies):
        hashes_N = hashes(seen_NHW[copies])
        for start in range(0, len(starts), _BLOCK):
            for anchor, near, bits in _candidates(seen_NHW, starts[start : start + _BLOCK], copies, hashes_N, settings):
                pairs += _aligned(seen_NHW, anchor, near, bits, settings)
    return pd.DataFrame(pairs, columns=Pair._fields)


def _candidates(
    seen_NHW: Thumbnails, anchors: Numbers, copies: Numbers, hashes_N: Hashes, settings: NearDuplicateSettings
) -> Iterator[tuple[int, Numbers, Numbers]]:
    """For each anchor the images with a similar hash and a sufficient correlation, and how many bits differ."""
    made = versions(seen_NHW[anchors], _HASHED)
    hashes_NK = hashes(made.reshape(-1, SIDE, SIDE)).reshape(len(anchors), -1)
    for anchor, versions_KHW, hashes_K in zip(anchors.tolist(), made, hashes_NK, strict=True):
        bits_N = np.bitwise_count(hashes_K[:, None] ^ hashes_N[None]).min(axis=0)
        near = np.flatnonzero((bits_N <= settings.hash_bits) & (copies != anchor))
        if not len(near):
            continue
        unaligned_NK = standardised(seen_NHW[copies[near]]) @ standardised(versions_KHW).T
        hopeful = near[unaligned_NK.max(axis=1) >= settings.correlation - _UNALIGNED]
        if len(hopeful):
            yield anchor, copies[hopeful], bits_N[hopeful].astype(np.int64)


def _aligned(
    seen_NHW: Thumbnails, anchor: int, near: Numbers, bits: Numbers, settings: NearDuplicateSettings
) -> Iterator[Pair]:
    versions_KHW = versions(seen_NHW[anchor][None], _ALIGNED)[0]
    correlations_NK = standardised(seen_NHW[near]) @ standardised(versions_KHW).T
    best_N = correlations_NK.argmax(axis=1)
    for copy, differing, version, row_K in zip(
        near.tolist(), bits.tolist(), best_N.tolist(), correlations_NK, strict=True
    ):
        if row_K[version] >= settings.correlation:
            yield Pair(anchor, copy, differing, float(row_K[version]), _ALIGNED[version // 2], version % 2 == 1)
