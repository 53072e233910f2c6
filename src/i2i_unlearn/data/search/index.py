"""The index of all images: their descriptions (description.py), in files that are read through memory mapping.

    FOLDER/DIGEST/values.npy    int8 (N, 64)
    FOLDER/DIGEST/lengths.npy   float16 (N, 14)

One folder for each shard, named by a digest of what the shard holds: a shard that changes has another folder, and the
old one is deleted when the index is next opened. So nothing of an image that has left the shards stays. What is missing
is made; each folder appears whole or not at all, so a killed run goes on with the shard that it was at. The index names
no image. It is readable by its owner alone, and git does not see it.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from i2i_unlearn.data.images.layout import open_shard, reading_of, shard_damage_told
from i2i_unlearn.data.images.reading import iter_pictures, list_shards
from i2i_unlearn.data.search.description import NUM_VALUES, PARTS, VERSION, Descriptions, describe
from i2i_unlearn.data.split.picture_hash import thumbnail
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_folder, hide_from_git
from i2i_unlearn.support.progress import progress

BYTES_PER_IMAGE = NUM_VALUES + 2 * len(PARTS)
_DIGITS = 64  # of a sha256
_BLOCK = 1024  # rows that one thread describes at a time: four row groups of a shard


@dataclass(frozen=True)
class Shard:
    """A shard and the descriptions of its images, by row."""

    name: str
    digest: str
    num_images: int
    descriptions: Descriptions
    """Mapped into memory."""


@dataclass(frozen=True)
class _Wanted:
    name: str
    digest: str
    num_images: int


@dataclass(frozen=True)
class Opened:
    """An index that fits the shards."""

    shards: Sequence[Shard]
    num_made: int
    """Images described just now."""
    num_removed: int
    """Folders deleted, of shards that changed or are gone."""

    @property
    def num_images(self) -> int:
        """Of all shards."""
        return sum(shard.num_images for shard in self.shards)


def open_index(images: str, folder: str | Path) -> Opened:
    """Open the index of the folder `images`; make what is missing, delete what is of no shard any more.

    Raises:
        UserError: there is no shard, an image is damaged, the disk is full, or `folder` holds other files.
    """
    folder = Path(folder)
    wanted = [_look_at(images, name) for name in list_shards(images)]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    num_removed = _remove_others(folder, {shard.digest for shard in wanted})
    hide_from_git(folder, "an index needs a folder of its own")
    read = {shard.digest: _read(folder, shard) for shard in wanted}
    missing = list({shard.digest: shard for shard in wanted if read[shard.digest] is None}.values())
    num_made = sum(shard.num_images for shard in missing)
    if missing:
        with progress("making the index of images", num_made) as advance:
            for shard in missing:
                for num_done in _make(images, shard, folder / shard.digest):
                    advance(num_done)
    shards = []
    for shard in wanted:
        found = read[shard.digest] or _read(folder, shard)
        if found is None:
            raise UserError(f"{folder}: changed while it was read; run the same command again")
        shards.append(Shard(shard.name, shard.digest, shard.num_images, found))
    return Opened(shards, num_made, num_removed)


def _look_at(images: str, name: str) -> _Wanted:
    """A shard's digest: of its images' own digests, in order, and of how they become pixels."""
    total = hashlib.sha256()
    with open_shard(images, name) as file, shard_damage_told(images, name):
        read_with = json.dumps(asdict(reading_of(file.schema_arrow)), sort_keys=True)
        total.update(f"{VERSION} {read_with}\n".encode())
        num_images = file.metadata.num_rows
        for batch in file.iter_batches(batch_size=1 << 16, columns=["sha256"]):
            batch.validate(full=True)  # text that is not UTF-8
            total.update("\n".join(map(str, batch.column(0).to_pylist())).encode() + b"\n")
    return _Wanted(name, total.hexdigest(), num_images)


def _remove_others(folder: Path, digests: set[str]) -> int:
    """Delete what is of no shard, half-made or whole; refuse a folder that holds anything but an index."""
    held = {path: path.name.removeprefix(".").partition(".")[0] for path in folder.iterdir()}
    held.pop(folder / ".gitignore", None)
    for path, digest in held.items():
        if len(digest) != _DIGITS or not path.is_dir() or path.is_symlink():
            raise UserError(f"{folder}: holds {path.name}, which is not of an index; name another folder with --index")
    gone = [path for path, digest in held.items() if digest not in digests]
    for path in gone:
        shutil.rmtree(path)
    return len(gone)


def _read(folder: Path, shard: _Wanted) -> Descriptions | None:
    """None where there is nothing, or what is there is damaged."""
    try:
        values, lengths = (
            np.load(folder / shard.digest / name, mmap_mode="r") for name in ("values.npy", "lengths.npy")
        )
    except (OSError, ValueError, EOFError):
        return None
    expected = [((shard.num_images, NUM_VALUES), np.int8), ((shard.num_images, len(PARTS)), np.float16)]
    fits = [
        (array.shape, array.dtype) == (shape, np.dtype(kind))
        for array, (shape, kind) in zip((values, lengths), expected, strict=True)
    ]
    return Descriptions(values, lengths) if all(fits) else None


def _make(images: str, shard: _Wanted, out: Path) -> Iterator[int]:
    """Describe the images of a shard, in threads, since decoding leaves Python; yield how many more are done."""
    with atomic_folder(out) as aside:
        values, lengths = (
            np.lib.format.open_memmap(aside / name, mode="w+", dtype=kind, shape=(shard.num_images, width))
            for name, kind, width in (("values.npy", np.int8, NUM_VALUES), ("lengths.npy", np.float16, len(PARTS)))
        )

        def fill(first: int) -> int:
            last = min(first + _BLOCK, shard.num_images)
            rows = pd.DataFrame({"shard": shard.name, "row": np.arange(first, last)})
            seen = np.stack([thumbnail(picture) for picture in iter_pictures(images, rows)])
            values[first:last], lengths[first:last] = describe(seen)
            return last - first

        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # decoders set this themselves, but not each thread on its own
                yield from pool.map(fill, range(0, shard.num_images, _BLOCK))
        finally:
            pool.shutdown(cancel_futures=True)
        for array in (values, lengths):
            array.flush()
