"""Writes image shards (`layout`).

Row groups are small: reading one image never reads more than `ROWS_PER_GROUP` images, and writing holds one row group.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from i2i_unlearn.data.images.decoding import BY_DEFAULT, Reading
from i2i_unlearn.data.images.layout import SourceSplit, open_shard, schema_of, shard_damage_told
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file, disk_full_as_user_error, folder_aside

ROWS_PER_GROUP = 256
BYTES_PER_GROUP = 32 * 2**20  # photographs of 10 MB each: a row group of 256 would hold 2.5 GB
BYTES_PER_SHARD = 2**30


@dataclass(frozen=True)
class Record:
    """One image on its way into a shard."""

    sample_id: str
    label: str
    image: bytes
    """The encoded file, unchanged."""
    subject: str | None = None
    """The person or owner."""
    source_split: SourceSplit = "unknown"
    more_labels: tuple[str, ...] = ()
    """Those of an image with several, after the first."""
    more_subjects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """What `write_shards` did."""

    paths: tuple[Path, ...]
    num_images: int
    unchanged: bool
    """The same bytes already existed."""


def write_shards(
    records: Iterable[Record],
    out_folder: str | Path,
    name: str,
    reading: Reading = BY_DEFAULT,
    *,
    several: bool = False,
) -> Written:
    """Write `records` to `out_folder`/`name`.parquet, or `name`-00000-of-00003.parquet ... if they fill several.

    They keep how their images become pixels, `reading`, and have columns for further names if an image has `several`.
    Memory holds one row group, however many records there are.
    Equal records give equal bytes. A failure leaves the folder as it was.

    Raises:
        UserError: a sample id occurs twice (here or in another shard of the folder), there is no record, shards of this
            name exist with other content, another shard of the folder is damaged, or the disk is full.
    """
    out_folder = Path(out_folder)
    out_folder.mkdir(parents=True, exist_ok=True)
    existing = _shards_named(out_folder, name)
    with folder_aside(out_folder.parent / name) as folder:
        with disk_full_as_user_error(out_folder), _unique_ids(folder) as remember:
            _remember_other_shards(remember, out_folder, existing)
            aside = folder / "shards"
            aside.mkdir()
            num_images = _write_parts(records, aside, remember, schema_of(reading, several))
        if num_images == 0:
            raise UserError(f"{out_folder / name}.parquet: there is no image to write; check the source")
        return _move_in(_with_final_names(aside, name), out_folder, existing, num_images)


def _shards_named(folder: Path, name: str) -> list[Path]:
    return sorted([*folder.glob(f"{name}.parquet"), *folder.glob(f"{name}-[0-9]*-of-[0-9]*.parquet")])


def _write_parts(records: Iterable[Record], folder: Path, remember: Callable[[str], None], schema: pa.Schema) -> int:
    num_images = 0
    writer: pq.ParquetWriter | None = None
    shard_bytes = 0
    try:
        for group in _row_groups(records, remember, schema):
            if writer is None:
                path = folder / f"{len(list(folder.iterdir())):05d}.parquet"
                writer = pq.ParquetWriter(
                    path,
                    schema,
                    compression="none",  # encoded images do not shrink, and codecs differ between builds
                    use_dictionary=["label", "subject", "source_split"],
                    write_statistics=False,  # minima and maxima of images would be whole images
                )
            writer.write_table(group, row_group_size=len(group))
            num_images += len(group)
            shard_bytes += group.nbytes
            if shard_bytes >= BYTES_PER_SHARD:
                writer.close()
                writer, shard_bytes = None, 0
    finally:
        if writer is not None:
            writer.close()
    return num_images


def _row_groups(records: Iterable[Record], remember: Callable[[str], None], schema: pa.Schema) -> Iterator[pa.Table]:
    group: list[dict[str, object]] = []
    num_bytes = 0
    for record in records:
        remember(record.sample_id)
        group.append({**record.__dict__, "sha256": hashlib.sha256(record.image).hexdigest()})
        num_bytes += len(record.image)
        if len(group) == ROWS_PER_GROUP or num_bytes >= BYTES_PER_GROUP:
            yield pa.Table.from_pylist(group, schema=schema)
            group, num_bytes = [], 0
    if group:
        yield pa.Table.from_pylist(group, schema=schema)


@contextmanager
def _unique_ids(folder: Path) -> Iterator[Callable[[str], None]]:
    """Yield a function that refuses an id it was given before; on disk, since a set in memory would grow with them."""
    with closing(sqlite3.connect(folder / "seen.db")) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("CREATE TABLE seen (sample_id TEXT PRIMARY KEY) WITHOUT ROWID")

        def remember(sample_id: str) -> None:
            try:
                connection.execute("INSERT INTO seen VALUES (?)", (sample_id,))
            except sqlite3.IntegrityError:
                raise UserError(
                    f"sample id {sample_id!r} occurs twice; give every image its own id (import with another --name, or"
                    " correct the source)"
                ) from None

        yield remember


def _remember_other_shards(remember: Callable[[str], None], folder: Path, own: list[Path]) -> None:
    for path in sorted(set(folder.glob("[!.]*.parquet")) - set(own)):
        with open_shard(str(folder), path.name) as file:
            for group in range(file.num_row_groups):
                with shard_damage_told(str(folder), path.name):
                    sample_ids = file.read_row_group(group, columns=["sample_id"])["sample_id"].to_pylist()
                for sample_id in sample_ids:
                    remember(sample_id)


def _with_final_names(aside: Path, name: str) -> list[Path]:
    parts = sorted(aside.iterdir())
    if len(parts) == 1:
        return [parts[0].rename(aside / f"{name}.parquet")]
    return [part.rename(aside / f"{name}-{i:05d}-of-{len(parts):05d}.parquet") for i, part in enumerate(parts)]


def _move_in(parts: list[Path], out_folder: Path, existing: list[Path], num_images: int) -> Written:
    """Put the shards in place; existing ones must be the same (a killed run may have placed some of them)."""
    new = {part.name: part for part in parts}
    for path in existing:
        if path.name not in new or digest_file(path) != digest_file(new[path.name]):
            raise UserError(f"{path}: already exists and holds other images; choose another name or remove it first")
    for name in new.keys() - {path.name for path in existing}:
        new[name].rename(out_folder / name)
    final = tuple(out_folder / name for name in sorted(new))
    return Written(final, num_images, unchanged=len(existing) == len(final))
