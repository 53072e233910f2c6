"""Records from a folder per class, as in ImageNet: SOURCE/CLASS/... or SOURCE/train/CLASS/..., SOURCE/val/CLASS/...

The class is the first folder below the source (or below the split's folder); deeper folders appear only in the sample
id. Hidden files and folders are ignored; every other file counts as an image.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from i2i_unlearn.data.images.layout import SourceSplit
from i2i_unlearn.data.importers.source import SPLIT_WORDS, Candidate
from i2i_unlearn.support.errors import UserError


def count_files(source: Path) -> int:
    """Number of files that `read_folder` yields."""
    return sum(1 for folder, _ in _class_folders(source) for _ in _files(folder))


def read_folder(source: Path, *, name: str, source_split: SourceSplit | None) -> Iterator[Candidate]:
    """The files below `source` in sorted order; sample ids are `name`/path below `source`.

    `source_split` overrides the folders' names.

    Raises:
        UserError: there is no class folder.
    """
    for folder, split_of_folder in _class_folders(source):
        for path in _files(folder):
            yield Candidate(
                where=str(path),
                sample_id=f"{name}/{path.relative_to(source).as_posix()}",
                label=folder.name,
                source_split=source_split or split_of_folder,
                read=path.read_bytes,
            )


def _class_folders(source: Path) -> list[tuple[Path, SourceSplit]]:
    top = [path for path in _visible(source) if path.is_dir()]
    parents: list[tuple[Path, SourceSplit]] = [(source, "unknown")]
    if top and all(folder.name in SPLIT_WORDS for folder in top):
        parents = [(folder, SPLIT_WORDS[folder.name]) for folder in top]
    inside = [(path, split) for parent, split in parents for path in _visible(parent)]
    found = [(path, split) for path, split in inside if path.is_dir()]
    loose = [path for path, _ in inside if path.is_file()]
    if not found:
        raise UserError(
            f"{source}: has no folder per class; expected {source}/CLASS/image.jpg or {source}/train/CLASS/image.jpg"
        )
    if loose:
        raise UserError(f"{loose[0]}: is in no class folder ({len(loose)} such files); move it into one or remove it")
    return found


def _visible(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if not path.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    """Files below `folder`; only the names of one folder are in memory."""
    with os.scandir(folder) as entries:
        names = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    for name, is_folder in names:
        if is_folder:
            yield from _files(folder / name)
        else:
            yield folder / name
