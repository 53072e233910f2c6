"""Reads image shards from any file system: the index of all images, encoded images, pixels.

Images are named by the URI of a folder (a path, s3://..., gs://...); shards are named relative to it.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from i2i_unlearn.data.images.decoding import BY_DEFAULT, Reading, fitted, open_image
from i2i_unlearn.data.images.layout import (
    FETCH_AGAIN,
    MORE,
    SOURCE_SPLITS,
    composed,
    filesystem_of,
    open_shard,
    reading_of,
    shard_damage_told,
)
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.progress import progress

if TYPE_CHECKING:  # importing torch takes seconds, and the index does not need it
    from torch import Tensor

    from i2i_unlearn.models.preprocessor import Fit

INDEX_COLUMNS = ("sample_id", "label", "subject", "source_split", "sha256")
FETCH_DATA = (
    "write the demo's with `i2i-unlearn data embedded digits --out data`, import your own with"
    " `i2i-unlearn data import`, fetch tracked ones with `dvc pull`"
)


def list_shards(images: str) -> list[str]:
    """Names of the shards, relative to the URI, sorted.

    Raises:
        UserError: there are none, or the URI cannot be opened.
    """
    filesystem, root = filesystem_of(images)
    prefix = root.rstrip("/") + "/"
    names = [str(path).removeprefix(prefix) for path in filesystem.find(root) if str(path).endswith(".parquet")]
    shards = sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))
    if not shards:
        raise UserError(f"{images}: no image shard (*.parquet) found; {FETCH_DATA}")
    return shards


def read_index(images: str) -> pd.DataFrame:
    """One row per image, no pixels: shard, row, sample_id, label, subject, source_split, sha256; in shard order.

    Where an image has several labels or persons, further columns hold lists of the others, more_labels, more_subjects;
    where a shard is not read as by default, the column reading says how.

    Raises:
        UserError: there is no shard, a file is damaged or not a shard, or a sample id occurs twice.
    """
    tables: list[pd.DataFrame] = []
    for shard in list_shards(images):
        with open_shard(images, shard) as file, shard_damage_told(images, shard):
            reading = reading_of(file.schema_arrow)
            more = [column.name for column in MORE if column.name in file.schema_arrow.names]
            read = file.read(columns=[*INDEX_COLUMNS, *more])
            read.validate(full=True)  # text that is not UTF-8
            table = read.to_pandas()
        table.insert(0, "shard", shard)
        table.insert(1, "row", np.arange(len(table)))
        if reading != BY_DEFAULT:
            table["reading"] = json.dumps(asdict(reading), sort_keys=True)
        for column in ("label", "subject"):
            table[column] = table[column].map({name: composed(name) for name in table[column].dropna().unique()})
        tables.append(table)
    index: pd.DataFrame = pd.concat(tables, ignore_index=True)
    _check_unique(index)
    unknown = sorted(set(index["source_split"]) - set(SOURCE_SPLITS))
    if unknown:
        raise UserError(f"{images}: source_split {unknown[0]!r} is not known; it is one of {', '.join(SOURCE_SPLITS)}")
    return index


def _check_unique(index: pd.DataFrame) -> None:
    again = index["sample_id"].duplicated(keep=False)
    if not again.any():
        return
    # Rows, not ids: this message also appears in the logs of a cluster.
    places = index[index["sample_id"] == index.loc[again, "sample_id"].iloc[0]]
    first, second = (f"{shard} row {row}" for shard, row in places[["shard", "row"]].head(2).to_numpy().tolist())
    raise UserError(
        f"{first} and {second} have the same sample id ({int(again.sum())} images share one); ids must be unique;"
        " remove one of the shards or import with other ids"
    )


def shard_bytes(images: str, shard: str) -> int:
    """Size of a shard's file."""
    filesystem, root = filesystem_of(images)
    return int(filesystem.size(f"{root.rstrip('/')}/{shard}"))


def iter_encoded(images: str, rows: pd.DataFrame) -> Iterator[bytes]:
    """The encoded images of `rows` (columns shard, row), in their order, each checked against its sha256.

    Only one row group is in memory: in shard order each is read once, in random order again and again.

    Raises:
        UserError: a shard is missing or damaged, or has no such row.
    """
    places = zip(rows["shard"].tolist(), rows["row"].tolist(), strict=True)
    for shard, run in itertools.groupby(places, key=itemgetter(0)):
        with open_shard(images, shard) as file:
            yield from _encoded_of_shard(images, shard, file, [int(row) for _, row in run])


def _encoded_of_shard(images: str, shard: str, file: pq.ParquetFile, rows: list[int]) -> Iterator[bytes]:
    ends = np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)])
    current, first, encoded, digests = -1, 0, [], []
    for row in rows:
        group = int(np.searchsorted(ends, row, side="right"))
        if group >= len(ends):
            raise UserError(
                f"{images}: {shard} has no row {row}; the images have changed, run `i2i-unlearn split` again"
            )
        if group != current:
            with shard_damage_told(images, shard):
                table = file.read_row_group(group, columns=["image", "sha256"])
            encoded, digests = table["image"].to_pylist(), table["sha256"].to_pylist()
            current, first = group, int(ends[group]) - len(encoded)
        image = encoded[row - first]
        if hashlib.sha256(image).hexdigest() != digests[row - first]:
            raise UserError(
                f"{images}: {shard} row {row} does not match its sha256, the shard is damaged; {FETCH_AGAIN}"
            )
        yield image


def iter_pictures(images: str, rows: pd.DataFrame) -> Iterator[Image.Image]:
    """The pictures of `rows` (columns shard, row) in their original size, read as by `iter_encoded`.

    Raises:
        UserError: as `iter_encoded` and `open_image`.
    """
    readings: dict[str, Reading] = {}
    for shard, row, encoded in zip(rows["shard"], rows["row"], iter_encoded(images, rows), strict=True):
        if shard not in readings:
            with open_shard(images, shard) as file:
                readings[shard] = reading_of(file.schema_arrow)
        yield open_image(encoded, name=f"{shard} row {row}", reading=readings[shard])


class Wanted(TypedDict):
    """The pixels that a model takes; keywords of `iter_pixels` and `load_pixels`."""

    image_size: tuple[int, int]
    """(height, width)."""
    num_channels: int
    fit: "Fit | None"
    """How it wants pictures of another size; None = the middle, cut out."""


def wanted_by(model: Any) -> Wanted:
    """What `model` (models.base.ImageToImage) takes."""
    preprocessor = getattr(model, "preprocessor", None)
    fit = None if preprocessor is None else preprocessor.fit
    return Wanted(image_size=tuple(model.image_size), num_channels=model.num_channels, fit=fit)


def iter_pixels(
    images: str,
    rows: pd.DataFrame,
    *,
    image_size: tuple[int, int],
    num_channels: int,
    fit: "Fit | None" = None,
) -> Iterator[NDArray[np.uint8]]:
    """Decoded images (C, H, W) of `rows` (columns shard, row), read as by `iter_encoded`.

    Raises:
        UserError: as `iter_encoded` and `decode`.
    """
    for shard, row, picture in zip(rows["shard"], rows["row"], iter_pictures(images, rows), strict=True):
        name = f"{shard} row {row}"
        yield fitted(picture, image_size=image_size, num_channels=num_channels, fit=fit, name=name)


def load_pixels(
    images: str,
    rows: pd.DataFrame,
    *,
    image_size: tuple[int, int],
    num_channels: int,
    description: str,
    fit: "Fit | None" = None,
) -> "Tensor":
    """Decoded images of `rows` (columns shard, row) as uint8 (N, C, H, W), in their order.

    `description` appears next to the progress bar.

    Raises:
        UserError: as `iter_pixels`.
    """
    import torch

    pixels_NCHW = np.empty((len(rows), num_channels, *image_size), dtype=np.uint8)
    in_shard_order = rows.reset_index(drop=True).sort_values(["shard", "row"])
    decoded = iter_pixels(images, in_shard_order, image_size=image_size, num_channels=num_channels, fit=fit)
    with progress(description, len(rows)) as advance:
        for place, pixels_CHW in zip(in_shard_order.index, decoded, strict=True):
            pixels_NCHW[place] = pixels_CHW
            advance()
    return torch.from_numpy(pixels_NCHW)
