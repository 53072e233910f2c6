"""Records from Places-365 as it is published: file lists next to folders of images.

    categories_places365.txt           /a/airfield 0
    places365_train_standard.txt       /a/airfield/00000001.jpg 0          (or places365_train_challenge.txt)
    places365_val.txt                  Places365_val_00000001.jpg 165
    data_256_standard/a/airfield/...   the training images (or data_256, data_large_standard, data_large)
    val_256/Places365_val_...          the validation images (or val_large)

The label is the category's path without its letter: airfield, apartment_building/outdoor. The list of test images has
no labels and is not read.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from i2i_unlearn.data.images.layout import SourceSplit
from i2i_unlearn.data.importers.source import Candidate, Source
from i2i_unlearn.support.errors import UserError

CATEGORIES = "categories_places365.txt"
_OF_ALL = ("data_256", "data_256_challenge", "data_large", "data_large_challenge")
_LISTS: tuple[tuple[str, SourceSplit, tuple[str, ...]], ...] = (
    ("places365_train_standard.txt", "train", ("data_256_standard", "data_256", "data_large_standard", "data_large")),
    ("places365_train_challenge.txt", "train", _OF_ALL),
    ("places365_val.txt", "val", ("val_256", "val_large")),
)
"""Name, split, and the possible folders of its images."""


def is_places365(source: Path) -> bool:
    """Whether `source` has the layout of Places-365."""
    return (source / CATEGORIES).is_file()


def look_at_places365(source: Path, *, name: str, source_split: SourceSplit | None) -> Source:
    """The listed images, as `read_places365`."""
    read = partial(read_places365, source, name=name, source_split=source_split)
    return Source("file lists of Places-365", read, read)


def read_places365(source: Path, *, name: str, source_split: SourceSplit | None) -> Iterator[Candidate]:
    """The listed images in the lists' order; sample ids are `name`/train|val/file. `source_split` overrides the lists.

    Raises:
        UserError: there is no list, its images' folder is missing, or a line is not a file and a category's number.
    """
    labels = _labels(source / CATEGORIES)
    for listed, split, images in _lists(source):
        for number, file, category in _rows(listed):
            if category not in labels:
                raise UserError(
                    f"{listed}, line {number}: category {category} is not in {CATEGORIES}; fetch both lists again"
                )
            relative = PurePosixPath(file.lstrip("/"))
            if ".." in relative.parts:
                raise UserError(
                    f"{listed}, line {number}: {file} is outside the folder of the images; fetch the list again"
                )
            path = images / relative
            yield Candidate(
                where=str(path),
                sample_id=f"{name}/{split}/{relative}",
                label=labels[category],
                source_split=source_split or split,
                read=path.read_bytes,
            )


def _lists(source: Path) -> list[tuple[Path, SourceSplit, Path]]:
    """File, split and folder of images of each list."""
    found = []
    for name, split, folders in _LISTS:
        if not (source / name).is_file():
            continue
        places = [source / folder for folder in folders if (source / folder).is_dir()]
        if not places:
            raise UserError(f"{source}: {name} exists, but none of {', '.join(folders)}; unpack its images next to it")
        found.append((source / name, split, places[0]))
    if not found:
        names = ", ".join(name for name, *_ in _LISTS)
        raise UserError(f"{source}: has no list of images ({names}); unpack the file lists of Places-365 there")
    return found


def _labels(path: Path) -> dict[int, str]:
    """Number of a category -> its label."""
    return {number: file.strip("/").partition("/")[2] or file.strip("/") for _, file, number in _rows(path)}


def _rows(path: Path) -> Iterator[tuple[int, str, int]]:
    """Of each line that is not empty: its number, its image's file, and the number of its category."""
    with path.open("rb") as lines:
        for number, read in enumerate(lines, start=1):
            try:
                line = read.decode().strip()
            except UnicodeDecodeError:
                raise UserError(f"{path}, line {number}: is not UTF-8 text; fetch the list again") from None
            if not line:
                continue
            file, _, category = line.rpartition(" ")
            if not file or not category.isdecimal():
                raise UserError(f"{path}, line {number}: {line!r} is not a file and a number; fetch the list again")
            yield number, file, int(category)
