"""Records from folders of image files.

layout of SOURCE                    label         split
CLASS/...                           the folder    unknown
train/CLASS/..., val2017/CLASS/...  the folder    the upper folder's
CLASS/train/..., CLASS/test/...     upper folder  the lower folder's
train/a.png, val/b.png              none          the folder's
a.png, b.png                        none          unknown
any of these, and tables anywhere   as the table says, else as above (tables.py)

Deeper folders appear only in the sample id. Anything between these layouts is refused. Every file counts as an image,
but what is hidden or left by a system, captions (files of a picture's name with an ending of no picture) and, next to
class folders, files that are no pictures; what is left out is told.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from PIL import Image

from i2i_unlearn.data.images.layout import SourceSplit, composed
from i2i_unlearn.data.importers.cells import cell_at, first_name, names_in, split_in
from i2i_unlearn.data.importers.columns import Columns
from i2i_unlearn.data.importers.source import UNLABELLED, Candidate, Source, is_filler, split_of, taken
from i2i_unlearn.data.importers.tables import ENDINGS, Manifest, Table, by_likelihood, match, read_table
from i2i_unlearn.support.errors import UserError

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_LEFT_BY_SYSTEMS = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__", "thumbs.db",
     "desktop.ini", "ehthumbs.db"}
)  # fmt: skip
_DOCUMENTS = frozenset(
    {".txt", ".md", ".rst", ".json", ".jsonl", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".html", ".pdf", ".py",
     ".ipynb", ".log", ".ini", ".toml", ".cfg", ".caption"}
)  # fmt: skip
_CONTAINERS = {
    **dict.fromkeys(ARCHIVES, "an archive"),
    ".arrow": "a data set saved by datasets' save_to_disk; write it with to_parquet and give the Parquet files",
    ".tfrecord": "a TFRecord file; write its images as files or Parquet",
    ".mdb": "an LMDB database; write its images as files or Parquet",
    **dict.fromkeys((".npy", ".npz", ".h5", ".hdf5", ".mat", ".pkl", ".pt"), "a file of arrays; write images as files"),
}
_SHOWN = 3
_TRIED = 100
"""Rows that tell whether a column names files."""


@lru_cache(maxsize=1)
def picture_endings() -> frozenset[str]:
    """Endings of files that Pillow opens as pictures, in small letters."""
    Image.init()
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN) - {
        ".pdf", ".eps", ".ps", ".mpg", ".mpeg", ".h5", ".hdf", ".grib", ".bufr",
    }  # fmt: skip


def is_picture(name: str) -> bool:
    """Whether the file's ending is one of pictures."""
    return os.path.splitext(name)[1].lower() in picture_endings()


@dataclass
class _Part:
    """A folder of the source whose images have one split, and one label if a folder names it."""

    folder: str
    split: SourceSplit
    label: str = UNLABELLED
    deep: bool = True
    """Whether folders below it belong to it."""


@dataclass
class _Looked:
    """What was seen on the way."""

    parts: list[_Part]
    tables: list[Manifest] = field(default_factory=list)
    by_file: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    """Whole path of a file -> the rows that name it, each with its place."""
    notes: list[str] = field(default_factory=list)


def look_at_folder(source: Path, *, name: str, source_split: SourceSplit | None, columns: Columns) -> Source:
    """The files below `source` in sorted order; sample ids are `name`/path below `source`.

    `source_split` overrides the folders' names and the tables.

    Raises:
        UserError: it is not clear which folders are classes and which are splits, or a table does not fit.
    """
    source = source if str(source) != "." else source.resolve()
    looked = _Looked([])
    looked.parts = _parts(str(source), looked.notes)
    kind = _find_tables(source, looked, columns)
    read = partial(_candidates, source, looked, name, source_split, columns)
    left_out = Counter[str]()
    found = taken(_candidates(source, looked, name, source_split, columns, left_out))
    if not found.num_images:
        raise UserError(f"{source}: holds no image file; expected {source}/CLASS/image.jpg or {source}/image.jpg")
    _tell_left_out(left_out, looked.notes)
    if looked.tables:
        _tell_tables(looked, found.num_images, columns)
    elif named := columns.named():
        raise UserError(f"{source}: has no table that names files, so there is no column {named!r}; remove that option")
    return Source(kind, read, read, tuple(dict.fromkeys(looked.notes)), found)


# --- which folders are classes, and which are splits ---


def _entries(folder: str, notes: list[str] | None = None) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files, sorted, without what is hidden or left by a system."""
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir()) for entry in entries)
    ignored = [name for name, _ in found if not _counts(name)]
    if ignored and notes is not None:
        notes.append(f"not used, hidden or left by a system: {_first(ignored)}")
    return [name for name, is_dir in found if is_dir and _counts(name)], [
        name for name, is_dir in found if not is_dir and _counts(name)
    ]


def _counts(name: str) -> bool:
    return not name.startswith(".") and name.casefold() not in _LEFT_BY_SYSTEMS


def _parts(source: str, notes: list[str]) -> list[_Part]:
    folders, loose = _entries(source, notes)
    if not folders:
        _check_containers(source, loose)
        return [_Part(source, "unknown", deep=False)]
    splits = {folder: split for folder in folders if (split := split_of(folder)) is not None}
    empty = [name for name in folders if name not in splits and not _may_hold_pictures(os.path.join(source, name))]
    if empty and len(empty) < len(folders):
        notes.append(f"not used, no pictures in them: folders {_first(empty)}")
        folders = [name for name in folders if name not in empty]
    others = [folder for folder in folders if folder not in splits]
    if splits and others:
        return _beside(source, splits, others, loose, notes)
    if splits:
        _check_loose(source, loose, notes)
        parts = []
        for folder, split in splits.items():
            parts += _of_split(os.path.join(source, folder), split, notes)
        return parts
    return _classes(source, others, loose, notes)


def _beside(
    source: str, splits: dict[str, SourceSplit], others: list[str], loose: list[str], notes: list[str]
) -> list[_Part]:
    """Folders with a split's name next to others: one class of that name, or refused."""
    (first, *more) = splits
    if more or _entries(os.path.join(source, first))[0]:
        raise UserError(
            f"{source}/{others[0]}: is next to {', '.join(splits)}, which name splits, but its own name is none; rename"
            " or move it, or import each folder on its own with --source-split"
        )
    notes.append(f"folder {first} is taken for a class, since it is next to {_first(others)} and holds no folder")
    return _classes(source, sorted([first, *others]), loose, notes)


def _of_split(folder: str, split: SourceSplit, notes: list[str]) -> list[_Part]:
    """The class folders of a split; without one, its files have no label."""
    classes, loose = _entries(folder, notes)
    if not classes:
        _check_containers(folder, loose)
        return [_Part(folder, split, deep=False)]
    _check_loose(folder, loose, notes)
    return [_Part(os.path.join(folder, name), split, name) for name in classes]


def _classes(source: str, folders: list[str], loose: list[str], notes: list[str]) -> list[_Part]:
    """A folder per class, or a folder per class with one per split in it."""
    below = {folder: _entries(os.path.join(source, folder)) for folder in folders}
    with_splits = [
        folder for folder, (inside, files) in below.items() if inside and not files and all(map(split_of, inside))
    ]
    if not with_splits:
        _check_loose(source, loose, notes)
        return [_Part(os.path.join(source, folder), "unknown", folder) for folder in folders]
    without = [folder for folder in folders if folder not in with_splits]
    if without:
        raise UserError(
            f"{source}/{with_splits[0]}: holds folders of splits, {source}/{without[0]} does not; so it is not clear"
            " what the classes are; import each folder on its own"
        )
    deeper = [f for f in folders for s in below[f][0] if _entries(os.path.join(source, f, s))[0]]
    if len(folders) == 1 and (deeper or is_filler(folders[0])):
        notes.append(f"the set is taken to be in the folder {folders[0]}")
        return _parts(os.path.join(source, folders[0]), notes)
    if deeper:
        raise UserError(
            f"{source}/{deeper[0]}: holds folders of splits with folders in them, and there are {len(folders)} such"
            " sets, so it is not clear what the classes are; import each on its own"
        )
    _check_loose(source, loose, notes)
    return [
        _Part(os.path.join(source, folder, inside), split_of(inside) or "unknown", folder)
        for folder in folders
        for inside in below[folder][0]
    ]


def _may_hold_pictures(folder: str) -> bool:
    """Whether there is any file but documents."""
    folders, files = _entries(folder)
    endings = (os.path.splitext(name)[1].lower() for name in files)
    return any(ending not in _DOCUMENTS for ending in endings) or any(
        _may_hold_pictures(os.path.join(folder, name)) for name in folders
    )


def _check_loose(folder: str, loose: list[str], notes: list[str]) -> None:
    """Files next to class folders: pictures are refused; others may be tables and are told otherwise."""
    pictures = [name for name in loose if is_picture(name)]
    if pictures:
        raise UserError(
            f"{os.path.join(folder, pictures[0])}: is in no class folder ({len(pictures)} such files); move it into one"
            " or remove it"
        )
    others = [name for name in loose if not _is_table(name)]
    if others:
        notes.append(f"not used, next to folders and no pictures: {_first(others)}")


def _check_containers(source: str, loose: list[str]) -> None:
    """Files that hold many images, in a folder without pictures."""
    if not any(map(is_picture, loose)):
        for name in loose:
            check_container(os.path.join(source, name))


def check_container(path: str) -> None:
    """Refuse a file that holds many images in a way that is not read, and say what it is.

    Raises:
        UserError: it is one.
    """
    kind = _CONTAINERS.get(os.path.splitext(path)[1].lower())
    if kind == "an archive":
        raise UserError(f"{path}: is an archive, which is not read; {_unpack(os.path.basename(path))}")
    if kind:
        raise UserError(f"{path}: is {kind}")


def _unpack(name: str) -> str:
    folder = name.split(".")[0]
    if name.lower().endswith(".zip"):
        return f"unpack it (`unzip {name} -d {folder}`) and give the folder"
    if ".tar" in name.lower() or name.lower().endswith(".tgz"):
        return f"unpack it (`mkdir {folder} && tar -xf {name} -C {folder}`) and give the folder"
    return "unpack it and give the folder"


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


# --- files ---


def _files(part: _Part, left_out: Counter[str] | None = None, looked: _Looked | None = None) -> Iterator[str]:
    """Whole paths of a part's images, sorted; only the names of one folder are in memory."""
    used = {str(one.table.path) for one in looked.tables} if looked else set()
    yield from _walk(part.folder, left_out if left_out is not None else Counter(), used, not part.deep)


def _walk(folder: str, left_out: Counter[str], used: set[str], flat: bool) -> Iterator[str]:
    with os.scandir(folder) as entries:
        names = sorted((entry.name, _is_folder(entry, folder)) for entry in entries)
    stems: set[str] | None = None
    endings = picture_endings()
    for name, is_folder in names:
        if not _counts(name):
            left_out["hidden or left by a system"] += flat is False
            continue
        path = f"{folder}/{name}"
        if is_folder:
            yield from _walk(path, left_out, used, flat)
            continue
        _, dot, ending = name.rpartition(".")
        ending = f".{ending.lower()}"
        if dot and ending not in endings:
            if stems is None:
                pictures = [one for one, below in names if not below and is_picture(one)]
                stems = {*pictures, *(os.path.splitext(one)[0] for one in pictures)}
            if path in used or _is_table(name):  # it was looked at
                continue
            if ending == ".parquet" or _describes(name, stems):
                left_out[f"*{ending} next to pictures"] += 1
                continue
        yield path


def _describes(name: str, stems: set[str]) -> bool:
    """Whether the file's name is that of a picture and an ending: a.txt, a.png.json, a.jpg.supplemental.json of a."""
    return any(name[:place] in stems for place, letter in enumerate(name) if letter == ".")


def _is_folder(entry: "os.DirEntry[str]", folder: str) -> bool:
    is_folder = entry.is_dir()
    if is_folder and entry.is_symlink() and Path(folder).resolve().is_relative_to(Path(entry.path).resolve()):
        raise UserError(f"{entry.path}: is a link to a folder that it is in; remove it")
    return is_folder


def _tell_left_out(left_out: Counter[str], notes: list[str]) -> None:
    for what, count in sorted(left_out.items()):
        if count:
            notes.append(f"not used: {count} files, {what}")


# --- tables ---


def _find_tables(source: Path, looked: _Looked, columns: Columns) -> str:
    """Find the tables that name files; return the layout in words."""
    tops = dict.fromkeys([str(source), *(str(Path(part.folder).parent) for part in looked.parts)])
    for part in looked.parts:
        tops |= dict.fromkeys(_folders(part.folder) if part.deep else [part.folder])
    for top in tops:
        if not str(top).startswith(str(source)):
            continue
        for name in _entries(top)[1]:
            if _is_table(name):
                _take_table(Path(top) / name, looked, columns)
    by_folder = any(part.label != UNLABELLED for part in looked.parts)
    names = list(dict.fromkeys(one.table.path.name for one in looked.tables))
    by_table = f", with {_first(names)}" if names else ""
    return ("folder per class" if by_folder else "folder of images without classes") + by_table


def _folders(folder: str) -> Iterator[str]:
    """`folder` and those below it, but hidden ones."""
    yield folder
    with os.scandir(folder) as entries:
        below = sorted(entry.path for entry in entries if _counts(entry.name) and _is_folder(entry, folder))
    for path in below:
        yield from _folders(path)


def _is_table(name: str) -> bool:
    return name.lower().endswith(ENDINGS) or name.lower() == "metadata.parquet"


def _take_table(path: Path, looked: _Looked, columns: Columns) -> None:
    table = read_table(path)
    base = f"{path.parent}/"
    files = [
        file.removeprefix(base)
        for part in looked.parts
        if f"{part.folder}/".startswith(base) or base.startswith(f"{part.folder}/")
        for file in _files(part)
        if file.startswith(base) and not file.lower().endswith(ENDINGS)
    ]
    asked = columns.image if columns.image != "image" and columns.image.partition(".")[0] in table.columns else ""
    found = match(table, files, asked) if table.rows else None
    if found is None or not found.rows:
        looked.notes.append(f"not used: {path.name}, no column of it names files here ({', '.join(table.columns)})")
        return
    looked.tables.append(found)
    for file, rows in found.rows.items():
        looked.by_file.setdefault(base + file, []).extend((f"{path} row {number}", row) for number, row in rows)


def _tell_tables(looked: _Looked, total: int, columns: Columns) -> None:
    found = list(dict.fromkeys(column for one in looked.tables for column in one.table.columns))
    rows = [row for one in looked.tables for row in one.table.rows]
    columns.check(looked.tables[0].table.path, found, rows, needs_image=False)
    for one in looked.tables:
        looked.notes += columns.unused(one.table.path.name, one.table.columns, used=[one.file_column])
        looked.notes.append(f"{one.table.path.name}: column {one.file_column} names the files")
    without = total - len(looked.by_file)
    if without:
        looked.notes.append(f"{without} images are named in no table")


def _candidates(
    source: Path,
    looked: _Looked,
    name: str,
    source_split: SourceSplit | None,
    columns: Columns,
    left_out: Counter[str] | None = None,
) -> Iterator[Candidate]:
    cut = len(str(source)) + 1
    for part in looked.parts:
        label = composed(part.label)
        for path in _files(part, left_out, looked):
            sample_id = f"{name}/{path[cut:]}"
            rows = looked.by_file.get(path)
            if rows is None:
                split = source_split or part.split
                yield Candidate(where=path, sample_id=sample_id, label=label, source_split=split, read=_reader(path))
            else:
                plain = Candidate(path, sample_id, label, part.split, _reader(path))
                yield described(plain, rows, columns, source_split)
    for one in looked.tables:
        yield from _without_file(one.table, one.missing, name, source_split)


def _without_file(
    table: Table, missing: list[tuple[int, str]], name: str, source_split: SourceSplit | None
) -> Iterator[Candidate]:
    """Rows whose file is not there: broken images."""
    for number, file in missing:
        read = partial(_no_file, file)
        yield Candidate(f"{table.path} row {number}", f"{name}/{file}", UNLABELLED, source_split or "unknown", read)


def described(
    plain: Candidate,
    rows: Sequence[tuple[str, dict[str, Any]]],
    columns: Columns,
    source_split: SourceSplit | None,
) -> Candidate:
    """The image as the rows that name it say, each given with its place; the rest stays as it is in `plain`."""

    def names(column: str, option: str) -> tuple[str, ...]:
        found = (names_in(cell_at(row, column), None, where, f"{option} {column!r}") for where, row in rows)
        return tuple(dict.fromkeys(name for one in found for name in one))

    labels, subjects = names(columns.label, "--label-column"), names(columns.subject, "--subject-column")
    named = (split_in(cell_at(row, columns.source_split), where) for where, row in rows)
    splits = {split for split in named if split is not None}
    if len(splits) > 1:
        raise UserError(f"{rows[0][0]}: the rows of {plain.where} name several splits; correct them")
    ids = (first_name(cell_at(row, columns.sample_id), where, "--id-column") for where, row in rows)
    return Candidate(
        where=plain.where,
        sample_id=next(filter(None, ids), plain.sample_id),
        label=labels[0] if labels else plain.label,
        source_split=source_split or (splits.pop() if splits else plain.source_split),
        read=plain.read,
        subject=subjects[0] if subjects else None,
        more_labels=labels[1:],
        more_subjects=subjects[1:],
    )


def _reader(path: str) -> Callable[[], bytes]:
    return partial(_read, path)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _no_file(name: str) -> bytes:
    raise FileNotFoundError(f"names {name!r}, which is not there")


# --- a table as the source ---


def look_at_list(path: Path, *, name: str, source_split: SourceSplit | None, columns: Columns) -> Source:
    """The files that a table names, in its order; sample ids are `name`/the path in the table.

    Raises:
        UserError: no column names files, or the table does not fit.
    """
    table = read_table(path)
    if not table.rows:
        raise UserError(f"{path}: holds no row; write a line of headings and one line per image")
    columns.check(path, table.columns, table.rows, needs_image=False)
    column, groups, missing = _named_files(table, columns)
    notes = [*columns.unused(path.name, table.columns, used=[column]), f"column {column} names the files"]

    def candidates() -> Iterator[Candidate]:
        for file, rows in groups.items():
            place = str(path.parent / file)
            plain = Candidate(place, f"{name}/{file}", UNLABELLED, "unknown", _reader(place))
            placed = [(f"{path} row {number}", row) for number, row in rows]
            yield described(plain, placed, columns, source_split)
        yield from _without_file(table, missing, name, source_split)

    return Source("table of files", candidates, candidates, tuple(notes))


_Rows = dict[str, list[tuple[int, dict[str, Any]]]]


def _named_files(table: Table, columns: Columns) -> tuple[str, _Rows, list[tuple[int, str]]]:
    """The column that names files, its files with their rows, and the rows without one."""
    base = table.path.parent
    column = columns.image if columns.image != "image" else _column_of_paths(table)
    if column is None:  # names without folder or ending
        below = _walk(str(base), Counter(), {str(table.path)}, False)
        found = match(table, [path.removeprefix(f"{base}/") for path in below if is_picture(path)])
        if found is None:
            raise UserError(
                f"{table.path}: no column names files below {base} (headings: {', '.join(table.columns)}); the first"
                " line must be headings; name the column with --image-column"
            )
        return found.file_column, found.rows, found.missing
    groups: _Rows = {}
    for number, row in enumerate(table.rows, start=1):
        file = str(cell_at(row, column) or "").replace("\\", "/").removeprefix("./")
        for folder in (base.absolute(), base.resolve()):
            file = file.removeprefix(f"{folder}/")
        if not file or os.path.isabs(file) or ".." in Path(file).parts:
            raise UserError(
                f"{table.path} row {number}: {column}={file!r} is no file below the table's folder; correct it"
            )
        groups.setdefault(file, []).append((number, row))
    return column, groups, []


def _column_of_paths(table: Table) -> str | None:
    """The column whose first cells are paths of files, from the table's folder or whole."""
    for column in by_likelihood(table.columns):
        cells = [str(row.get(column) or "").replace("\\", "/") for row in table.rows[:_TRIED]]
        if any(cell and os.path.isfile(table.path.parent / cell) for cell in cells):
            return column
    return None
