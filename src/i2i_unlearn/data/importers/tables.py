"""Tables that say what pictures show: metadata.csv or .jsonl next to pictures, a list.csv of files.

A row names its file by path below the table's folder, by name alone where that is unique, or by either without its
ending. Rows of the same file are put together: the image then has several labels or persons.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from i2i_unlearn.data.images.layout import composed, damage_told
from i2i_unlearn.data.importers.cells import cell_at
from i2i_unlearn.support.errors import UserError

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
FILE_COLUMNS = (
    "file_name", "filename", "file", "filepath", "file_path", "path", "image", "image_path", "image_file", "img",
    "image_id", "image_name", "name", "id",
)  # fmt: skip
"""Columns that are tried first for the names of files, in this order."""
_MOST_MISSING = 0.5
"""A column of which more rows name no file holds something else."""


@dataclass(frozen=True)
class Table:
    """A table of text or numbers as read."""

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]


@dataclass
class Manifest:
    """A table whose rows name files."""

    table: Table
    file_column: str
    rows: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    """File, as given to `match`, -> the rows that name it, with their numbers from 1."""
    missing: list[tuple[int, str]] = field(default_factory=list)
    """Number and file of the rows whose file is not there."""


def read_table(path: Path) -> Table:
    """Read a CSV, TSV or JSON-lines file with a line of headings, or a Parquet file.

    Raises:
        UserError: it is not text in UTF-8, or a line does not fit.
    """
    ending = path.suffix.lower()
    if ending == ".parquet":
        with damage_told(f"{path}: damaged or not a Parquet file", "fetch it again from its source"):
            read = pq.read_table(io.BytesIO(path.read_bytes()))
            read.validate(full=True)
        return Table(path, tuple(read.schema.names), read.to_pylist())
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not text in UTF-8; save it as UTF-8") from None
    return _json_lines(path, text) if ending in (".jsonl", ".ndjson") else _csv(path, text)


def _json_lines(path: Path, text: str) -> Table:
    rows, columns = [], dict[str, None]()
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: is not JSON ({error}); correct it") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: is not an object with keys; write one object per line")
        rows.append(row)
        columns.update(dict.fromkeys(row))
    return Table(path, tuple(columns), rows)


def _csv(path: Path, text: str) -> Table:
    head = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    columns: list[str] = []
    rows = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = [cell.strip() for cell in cells]
                if len(set(columns)) < len(columns) or "" in columns:
                    raise UserError(f"{path}, line 1: headings are missing or repeated: {head.strip()!r}; correct it")
                continue
            if len(cells) != len(columns):
                raise UserError(
                    f"{path}, line {reader.line_num}: has {len(cells)} cells, the line of headings has {len(columns)};"
                    " correct it"
                )
            rows.append(dict(zip(columns, (cell.strip() for cell in cells), strict=True)))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: is not CSV ({error}); correct it") from None
    return Table(path, tuple(columns), rows)


def match(table: Table, files: Sequence[str], file_column: str = "") -> Manifest | None:
    """The table as a manifest of `files` (paths below its folder, with /); None if no column of it names files.

    `file_column` is the column that the user named; else the one most of whose cells name a file.
    """
    places = _places(files)
    best: Manifest | None = None
    for column in [file_column] if file_column else by_likelihood(table.columns):
        found = _matched(table, column, places)
        named = len(table.rows) - len(found.missing)
        if file_column or (named and len(found.missing) <= _MOST_MISSING * len(table.rows)):
            if best is None or len(found.missing) < len(best.missing):
                best = found
            if not found.missing:
                break
    return best


def by_likelihood(columns: Iterable[str]) -> list[str]:
    """The columns, those first whose names are usual for files."""
    order = {name: place for place, name in enumerate(FILE_COLUMNS)}
    return sorted(columns, key=lambda column: order.get(column.lower(), len(order)))


def _places(files: Sequence[str]) -> dict[str, str]:
    """How a row may name a file -> the file. A short name that two files have names neither."""
    whole = {composed(file): file for file in files}
    short: dict[str, str | None] = {}
    for name, file in whole.items():
        for one in {_stem(name), name.rpartition("/")[2], _stem(name.rpartition("/")[2])} - {name}:
            short[one] = None if one in short else file
    return {**{name: file for name, file in short.items() if file is not None}, **whole}


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.rpartition('.')[0] or last}"


def _matched(table: Table, column: str, places: Mapping[str, str]) -> Manifest:
    found = Manifest(table, column)
    for number, row in enumerate(table.rows, start=1):
        cell = cell_at(row, column)
        name = "" if cell is None else str(cell)
        key = composed(name.replace("\\", "/").removeprefix("./"))
        place = places.get(key) or places.get(key.removeprefix(f"{composed(table.path.parent.as_posix())}/"))
        if place is None:
            found.missing.append((number, name))
        else:
            found.rows.setdefault(place, []).append((number, row))
    return found
