"""Records from Parquet files of any origin, including Hugging Face data sets and partitioned tables.

ours           taken from                                          if missing
image          column of bytes or struct{bytes, path}              an error
sample_id      column                                              NAME/file/row number, NAME/folders/file/row number
                                                                   where two files have the same name
label          column; class names of Hugging Face                 unlabelled
subject        column                                              null
source_split   column, else the name of the file or of its folder  unknown

A column may be in the folders' names, as Spark writes it: label=cat/part-0.parquet. Hidden files do not count, nor what
begins with an underscore. How cells become names: cells.py.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from i2i_unlearn.data.images.decoding import BY_DEFAULT, Reading
from i2i_unlearn.data.images.layout import VERSION_KEY, SourceSplit, damage_told, reading_of
from i2i_unlearn.data.importers.cells import cell_at, first_name, names_in, split_in
from i2i_unlearn.data.importers.columns import Columns, option_of
from i2i_unlearn.data.importers.source import UNLABELLED, Candidate, Source, split_of
from i2i_unlearn.support.errors import UserError

ROWS_PER_BATCH = 64
_ROWS_WITHOUT_IMAGES = 10_000
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_OF_SHARDS = frozenset({"of", "part", "shard"})
_MORE = ("more_labels", "more_subjects")
"""Columns of our own shards, for images with several names."""


def is_parquet(path: Path) -> bool:
    """Whether the file's name says so, in small or capital letters."""
    return path.suffix.lower() == ".parquet"


def begins_as_parquet(path: Path) -> bool:
    """Whether the file's first bytes are those of Parquet."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def reading_in(path: Path) -> Reading | None:
    """How the images of a shard that we wrote become pixels; None for other tables."""
    schema = _open(path).schema_arrow
    return reading_of(schema) if _is_ours(schema) else None


def _is_ours(schema: pa.Schema) -> bool:
    return VERSION_KEY in (schema.metadata or {})


def parquet_files(source: Path) -> list[Path]:
    """The file itself, or the Parquet files below a folder, sorted; neither hidden ones nor those of Spark's own.

    Raises:
        UserError: there are none.
    """
    files = [source] if source.is_file() else visible_parquet(source)
    if not files:
        raise UserError(f"{source}: no Parquet file (*.parquet) found; give a file, or a folder of such files")
    return files


def visible_parquet(source: Path) -> list[Path]:
    """The Parquet files below a folder that are neither hidden nor Spark's own, sorted."""
    found = []
    for folder, folders, files in os.walk(source):  # Spark names folders .parquet, too
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        found += [Path(folder, name) for name in files if _is_visible_parquet(name)]
    return sorted(found)


def _is_visible_parquet(name: str) -> bool:
    return name[-8:].lower() == ".parquet" and not name.startswith((".", "_"))


def holds_images(path: Path, columns: Columns) -> bool:
    """Whether the table has a column that could hold encoded images, under the name asked for or another."""
    schema = _open(path).schema_arrow
    return columns.image in schema.names or any(_is_encoded(field.type) for field in schema)


def count_rows(source: Path) -> int:
    """Number of images that `read_parquet` yields."""
    return sum(_open(path).metadata.num_rows for path in parquet_files(source))


def look_at_parquet(source: Path, *, name: str, source_split: SourceSplit | None, columns: Columns) -> Source:
    """The rows of the Parquet files in order, as `read_parquet`.

    Raises:
        UserError: a file is damaged, or lacks the image column or one that the user named.
    """
    read = partial(read_parquet, source, name=name, source_split=source_split, columns=columns)
    notes: dict[str, None] = {}
    readings: dict[Reading, str] = {}
    for path in parquet_files(source):
        schema, partitions = _open(path).schema_arrow, _partitions(path, source)
        names = [*schema.names, *partitions]
        _check_columns(path, schema, columns, names)
        readings.setdefault((reading_of(schema) if _is_ours(schema) else None) or BY_DEFAULT, str(path))
        ours = [*_MORE, "sha256"] if _is_ours(schema) else []
        notes |= dict.fromkeys(columns.unused("the table", names, used=ours))
    notes |= dict.fromkeys(_others(source))
    return Source("Parquet", read, partial(read, with_images=False), tuple(notes), readings=readings)


def _others(source: Path) -> Iterator[str]:
    """Lines on the files of a folder that are not read."""
    if source.is_file():
        return
    used = set(parquet_files(source))
    others = [path for path in source.rglob("*") if path.is_file() and path not in used]
    hidden = [path for path in others if is_parquet(path)]
    if hidden:
        yield f"not used: {len(hidden)} Parquet files that are hidden or begin with an underscore"
    shown = sorted(path.name for path in others if not is_parquet(path) and not path.name.startswith((".", "_")))
    if shown:
        yield f"not used: {len(shown)} files that are not Parquet, the first is {shown[0]}"


def read_parquet(
    source: Path,
    *,
    name: str,
    source_split: SourceSplit | None,
    columns: Columns,
    with_images: bool = True,
) -> Iterator[Candidate]:
    """The rows of the Parquet files in order. Memory holds one batch (and what pyarrow keeps of a row group).

    `name` is part of generated sample ids, `source_split` overrides column and file name. Names in `columns` that
    differ from ours were given by the user and must exist. Without images, the other columns alone are read.

    Raises:
        UserError: a file is damaged, or lacks the image column or one that the user named, or a cell holds no name.
    """
    files = parquet_files(source)
    stems = [path.stem for path in files]
    for path in files:
        file = _open(path)
        schema, partitions = file.schema_arrow, _partitions(path, source)
        _check_columns(path, schema, columns, [*schema.names, *partitions])
        unique = stems.count(path.stem) == 1
        id_prefix = path.stem if unique else path.relative_to(source).with_suffix("").as_posix()
        split_of_file = source_split or _split_from_names(path, source)
        wanted = {*vars(columns).values(), *(_MORE if _is_ours(schema) else ())}
        present = sorted(column for column in schema.names if wanted & {column} or _is_field(column, wanted))
        if not with_images:
            present.remove(columns.image)
        class_names = {column: _class_names(schema, column) for column in (columns.label, columns.subject)}
        for row, read in enumerate(_rows(path, file, present, with_images)):
            values, where = {**partitions, **read}, f"{path} row {row}"
            sample_id = first_name(cell_at(values, columns.sample_id), where, "--id-column")
            labels = names_in(
                [cell_at(values, columns.label), values.get("more_labels") if "more_labels" in present else None],
                class_names[columns.label], where, f"--label-column {columns.label!r}",
            )  # fmt: skip
            subjects = names_in(
                [cell_at(values, columns.subject), values.get("more_subjects") if "more_subjects" in present else None],
                class_names[columns.subject], where, f"--subject-column {columns.subject!r}",
            )  # fmt: skip
            yield Candidate(
                where=where,
                sample_id=f"{name}/{id_prefix}/{row:08d}" if sample_id is None else sample_id,
                label=labels[0] if labels else UNLABELLED,
                source_split=source_split or split_in(cell_at(values, columns.source_split), where) or split_of_file,
                read=partial(_image_bytes, values.get(columns.image)),
                subject=subjects[0] if subjects else None,
                more_labels=labels[1:],
                more_subjects=subjects[1:],
            )


def _is_field(column: str, wanted: set[str]) -> bool:
    return any(name.startswith(f"{column}.") for name in wanted)


def _partitions(path: Path, source: Path) -> dict[str, str | None]:
    """Columns in the folders' names: label=cat."""
    if source.is_file():
        return {}
    pairs = (part.partition("=") for part in path.relative_to(source).parent.parts if "=" in part)
    return {key: None if value == _NO_VALUE else unquote(value) for key, _, value in pairs}


def _damage_told(path: Path) -> AbstractContextManager[None]:
    return damage_told(f"{path}: damaged or not a Parquet file", "fetch it again from its source")


def _open(path: Path) -> pq.ParquetFile:
    with _damage_told(path):
        return pq.ParquetFile(path)


def _rows(path: Path, file: pq.ParquetFile, columns: list[str], with_images: bool) -> Iterator[dict[str, Any]]:
    """Row group by row group: one iterator over the whole file would end up holding all of it."""
    if not columns:
        yield from ({} for _ in range(file.metadata.num_rows))
        return
    size = ROWS_PER_BATCH if with_images else _ROWS_WITHOUT_IMAGES
    for group in range(file.num_row_groups):
        with _damage_told(path):
            for batch in file.iter_batches(size, row_groups=[group], columns=columns):
                batch.validate(full=True)  # text that is not UTF-8
                yield from batch.to_pylist()


def _check_columns(path: Path, schema: pa.Schema, columns: Columns, names: list[str]) -> None:
    if columns.image not in schema.names:
        likely = [field.name for field in schema if _is_encoded(field.type)]
        hint = f" ({likely[0]} holds bytes)" if likely else ""
        raise UserError(
            f"{path}: has no column {columns.image!r}; columns found: {', '.join(names)}; give the right one with"
            f" {option_of('image')}{hint}"
        )
    columns.check(path, names, [{field.name: _empty(field.type) for field in schema}], needs_image=True)
    _check_image_type(path, schema.field(columns.image))


def _check_image_type(path: Path, field: pa.Field) -> None:
    if not _is_encoded(field.type):
        raise UserError(
            f"{path}: column {field.name!r} is of type {field.type}; images must be encoded files (JPEG, PNG, ...) as"
            " binary or struct{bytes, path}"
        )


def _empty(kind: pa.DataType) -> Any:
    """What stands for a cell of the type: its structs and lists, with nothing in them."""
    if pa.types.is_struct(kind):
        return {kind.field(i).name: _empty(kind.field(i).type) for i in range(kind.num_fields)}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_empty(kind.value_type)]
    return None


def _is_encoded(kind: pa.DataType) -> bool:
    has_bytes = pa.types.is_struct(kind) and "bytes" in [kind.field(i).name for i in range(kind.num_fields)]
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or has_bytes)


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Hugging Face stores labels as numbers and their names in the file's metadata."""
    try:
        node: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        for key in column.split("."):
            node = _entry_of(node)[key]
        names = _entry_of(node)["names"]
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _entry_of(node: Any) -> Any:
    """What the entries of a list are, however Hugging Face's versions write lists."""
    while isinstance(node, list) or (isinstance(node, Mapping) and isinstance(node.get("feature"), Mapping | list)):
        node = node[0] if isinstance(node, list) else node["feature"]
    return node


def _split_from_names(path: Path, source: Path) -> SourceSplit:
    """From the file's name if it ends with a split's (cifar10-train-00000-of-00002), else from the nearest folder's."""
    folders = () if source.is_file() else path.relative_to(source).parent.parts
    words = [word for word in re.split(r"[\W\d_]+", path.stem.lower()) if word not in _OF_SHARDS]
    splits = [word for word in words if split_of(word)]
    if len(set(map(split_of, splits))) > 1:
        raise UserError(
            f"{path}: its name has the words {', '.join(splits)}; say which split it is with --source-split"
        )
    names = (*(" ".join(words[start:]) for start in range(len(words))), *reversed(folders))
    return next((split for name in names if (split := split_of(name)) is not None), "unknown")


def _image_bytes(value: Any) -> bytes:
    encoded = value.get("bytes") if isinstance(value, dict) else value
    if encoded is None:
        raise ValueError("the table holds no bytes for it")
    return bytes(encoded)
