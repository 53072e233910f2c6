"""The layout of image shards, and how one is opened: never without a check.

A shard is a Parquet file with the columns of `SCHEMA`; images stay encoded as they were imported. Where they are not
read as by default, its metadata say how (`READING_KEY`).
"""

import json
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import Any, Literal

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from i2i_unlearn.data.images.decoding import BY_DEFAULT, Reading
from i2i_unlearn.support.errors import UserError

SourceSplit = Literal["train", "val", "unknown"]
SOURCE_SPLITS: tuple[SourceSplit, ...] = ("train", "val", "unknown")
SCHEMA_VERSION = 1
VERSION_KEY = b"i2i_unlearn.image_shard"
SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("subject", pa.string()),
        pa.field("source_split", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
    ],
    metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
MORE = (pa.field("more_labels", pa.list_(pa.string())), pa.field("more_subjects", pa.list_(pa.string())))
"""Columns of shards with images of several labels or persons: those after the first."""
READING_KEY = b"i2i_unlearn.reading"
FETCH_AGAIN = "fetch the images again (`dvc pull --force`, or `i2i-unlearn data import`)"


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC), in which names are compared: Macs write an accent on its own."""
    return unicodedata.normalize("NFC", name)


def schema_of(reading: Reading, several: bool = False) -> pa.Schema:
    """The schema of shards whose images are read in this way, and may have several labels or persons."""
    schema = pa.schema([*SCHEMA, *MORE], metadata=SCHEMA.metadata) if several else SCHEMA
    if reading == BY_DEFAULT:
        return schema
    return schema.with_metadata({**SCHEMA.metadata, READING_KEY: json.dumps(asdict(reading), sort_keys=True).encode()})


def reading_of(schema: pa.Schema) -> Reading:
    """How the images of a shard become pixels; `reading_of(schema_of(r)) == r`."""
    return Reading(**json.loads((schema.metadata or {}).get(READING_KEY, b"{}")))


def filesystem_of(images: str) -> tuple[Any, str]:
    """The file system of a URI, and the path there.

    Raises:
        UserError: addresses of this kind cannot be opened.
    """
    try:
        return fsspec.core.url_to_fs(str(images))  # type: ignore[no-any-return]
    except (ImportError, ValueError) as error:
        raise UserError(
            f"{images}: this kind of address cannot be opened ({error}); give a folder, or a URI "
            "whose fsspec package is installed"
        ) from None


@contextmanager
def open_shard(images: str, shard: str) -> Iterator[pq.ParquetFile]:
    """Open the shard `shard` of the folder `images`.

    Raises:
        UserError: it is missing, damaged, or not a shard of this schema version.
    """
    filesystem, root = filesystem_of(images)
    try:
        handle = filesystem.open(f"{root.rstrip('/')}/{shard}", "rb")
    except FileNotFoundError:
        raise UserError(f"{images}: shard {shard} is missing; {FETCH_AGAIN}") from None
    with handle:
        with shard_damage_told(images, shard):
            file = pq.ParquetFile(handle)
        _check_schema(images, shard, file.schema_arrow)
        yield file


@contextmanager
def damage_told(what: str, remedy: str) -> Iterator[None]:
    """Turn what pyarrow raises on a damaged Parquet file into a UserError: `what` (reason); `remedy`."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{what} ({str(error).partition('. ')[0]}); {remedy}") from None


def shard_damage_told(images: str, shard: str) -> AbstractContextManager[None]:
    """`damage_told` for the shard `shard` of the folder `images`."""
    return damage_told(f"{images}: shard {shard} is truncated or damaged", FETCH_AGAIN)


def _check_schema(images: str, shard: str, schema: pa.Schema) -> None:
    missing = [name for name in SCHEMA.names if name not in schema.names]
    if missing:
        raise UserError(
            f"{images}: {shard} is not an image shard (it has no column {', '.join(missing)});"
            " convert it with `i2i-unlearn data import`"
        )
    for expected in SCHEMA:
        kind = schema.field(expected.name).type
        if kind not in (expected.type, pa.large_string() if pa.types.is_string(expected.type) else pa.large_binary()):
            raise UserError(
                f"{images}: {shard} is not an image shard (its column {expected.name} holds {kind}, not"
                f" {expected.type}); convert it with `i2i-unlearn data import`"
            )
    version = (schema.metadata or {}).get(VERSION_KEY, b"none").decode()
    if version != str(SCHEMA_VERSION):
        raise UserError(
            f"{images}: {shard} has schema version {version}, this program reads {SCHEMA_VERSION}; import the images"
            " again with `i2i-unlearn data import`, or use the i2i-unlearn that wrote it"
        )
