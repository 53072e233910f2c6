"""Records from Parquet files of any origin, including Hugging Face data sets.

ours           taken from                             if missing
image          column of bytes or struct{bytes, path} an error
sample_id      column                                 NAME/file/row number
label          column; class names of Hugging Face    unlabelled
subject        column                                 null
source_split   column, else the file's name           unknown
"""

import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from i2i_unlearn.data.images.decoding import Reading
from i2i_unlearn.data.images.layout import VERSION_KEY, SourceSplit, damage_told, reading_of
from i2i_unlearn.data.importers.source import SPLIT_WORDS, UNLABELLED, Candidate
from i2i_unlearn.support.errors import UserError

ROWS_PER_BATCH = 64


@dataclass(frozen=True)
class Columns:
    """Names of the columns in the foreign table."""

    image: str = "image"
    sample_id: str = "sample_id"
    label: str = "label"
    subject: str = "subject"
    source_split: str = "source_split"


def is_parquet(path: Path) -> bool:
    """Whether the file's name says so, in small or capital letters."""
    return path.suffix.lower() == ".parquet"


def reading_in(path: Path) -> Reading | None:
    """How the images of a shard that we wrote become pixels; None for other tables."""
    schema = _open(path).schema_arrow
    return reading_of(schema) if VERSION_KEY in (schema.metadata or {}) else None


def parquet_files(source: Path) -> list[Path]:
    """The file itself, or the Parquet files below a folder, sorted.

    Raises:
        UserError: there are none.
    """
    files = [source] if source.is_file() else sorted(source.rglob("*.parquet"))
    if not files:
        raise UserError(f"{source}: no Parquet file (*.parquet) found; give a file, or a folder of such files")
    return files


def count_rows(source: Path) -> int:
    """Number of images that `read_parquet` yields."""
    return sum(_open(path).metadata.num_rows for path in parquet_files(source))


def read_parquet(source: Path, *, name: str, source_split: SourceSplit | None, columns: Columns) -> Iterator[Candidate]:
    """The rows of the Parquet files in order. Memory holds one batch (and what pyarrow keeps of a row group).

    `name` is part of generated sample ids, `source_split` overrides column and file name. Names in `columns` that
    differ from ours were given by the user and must exist.

    Raises:
        UserError: a file is damaged, or lacks the image column or one that the user named.
    """
    for path in parquet_files(source):
        file = _open(path)
        schema = file.schema_arrow
        _check_columns(path, schema, columns)
        present = sorted(set(vars(columns).values()) & set(schema.names))
        class_names, split_of_file = _class_names(schema, columns.label), _split_from_name(path)
        for row, values in enumerate(_rows(path, file, present)):
            where = f"{path} row {row}"
            sample_id, subject = values.get(columns.sample_id), values.get(columns.subject)
            yield Candidate(
                where=where,
                sample_id=f"{name}/{path.stem}/{row:08d}" if sample_id is None else str(sample_id),
                label=_label(values.get(columns.label), class_names),
                source_split=source_split or _split(values.get(columns.source_split), split_of_file, where),
                read=partial(_image_bytes, values[columns.image]),
                subject=None if subject is None else str(subject),
            )


def _damage_told(path: Path) -> AbstractContextManager[None]:
    return damage_told(f"{path}: damaged or not a Parquet file", "fetch it again from its source")


def _open(path: Path) -> pq.ParquetFile:
    with _damage_told(path):
        return pq.ParquetFile(path)


def _rows(path: Path, file: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Row group by row group: one iterator over the whole file would end up holding all of it."""
    for group in range(file.num_row_groups):
        with _damage_told(path):
            for batch in file.iter_batches(ROWS_PER_BATCH, row_groups=[group], columns=columns):
                yield from batch.to_pylist()


def _check_columns(path: Path, schema: pa.Schema, columns: Columns) -> None:
    for ours, theirs in vars(columns).items():
        asked_for = ours == "image" or theirs != ours
        if asked_for and theirs not in schema.names:
            raise UserError(
                f"{path}: has no column {theirs!r}; columns found: {', '.join(schema.names)}; give the right one with"
                f" --{ours.replace('_', '-').replace('sample-id', 'id')}-column"
            )
    _check_image_type(path, schema.field(columns.image))


def _check_image_type(path: Path, field: pa.Field) -> None:
    kind = field.type
    has_bytes = pa.types.is_struct(kind) and "bytes" in [kind.field(i).name for i in range(kind.num_fields)]
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or has_bytes):
        raise UserError(
            f"{path}: column {field.name!r} is of type {kind}; images must be encoded files (JPEG, PNG, ...) as binary"
            " or struct{bytes, path}"
        )


def _class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Hugging Face stores labels as numbers and their names in the file's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, json.JSONDecodeError):
        return None
    return [str(name) for name in names]


def _split_from_name(path: Path) -> SourceSplit:
    words = re.split(r"[^a-z]+", path.stem.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "unknown")


def _label(value: Any, class_names: list[str] | None) -> str:
    if value is None:
        return UNLABELLED
    if class_names is not None and isinstance(value, int) and 0 <= value < len(class_names):
        return class_names[value]
    return str(value)


def _split(value: Any, split_of_file: SourceSplit, where: str) -> SourceSplit:
    if value is None:
        return split_of_file
    if value not in SPLIT_WORDS:
        raise UserError(f"{where}: source split {value!r} is not known; it is one of {', '.join(SPLIT_WORDS)}")
    return SPLIT_WORDS[value]


def _image_bytes(value: Any) -> bytes:
    encoded = value.get("bytes") if isinstance(value, dict) else value
    if encoded is None:
        raise ValueError("the table holds no bytes for it")
    return bytes(encoded)
