"""Images to complete: one file, the files below a folder, the rows of Parquet files; and the name of each completion.

input                        completion
cats/tom.png                 cats/tom.png
cats/tom.jpg                 cats/tom.jpg.png (next to it there may be a tom.png)
row 7 of cats.parquet        cats/00000007.png
a name too long for .png     its beginning, ~ and 12 digits of the sha256 of the whole name: long~0123456789ab.jpg.png
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from i2i_unlearn.data.images.decoding import BY_DEFAULT, Reading
from i2i_unlearn.data.importers.columns import Columns
from i2i_unlearn.data.importers.parquet import count_rows, is_parquet, read_parquet, reading_in
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError

_MOST_BYTES = 255


@dataclass(frozen=True)
class Item:
    """An image that may turn out to be broken."""

    where: str
    """File, or table and row."""
    name: str
    """Path of its completion below the output folder."""
    read: Callable[[], bytes]
    """Raises OSError or ValueError if there are no bytes."""
    reading: Reading


@dataclass(frozen=True)
class Inputs:
    """Images to complete, always in the same order."""

    root: Path
    """Folder that names are relative to."""
    paths: tuple[Path, ...]
    image_column: str
    reading: Reading = BY_DEFAULT
    """How image files become pixels; shards that we wrote say it themselves."""

    def target(self, path: Path) -> Path:
        """Name of the completion, or of the folder of those of a Parquet file, below the output folder."""
        inside = path.relative_to(self.root)
        if is_parquet(path):
            return inside.with_suffix("")
        return inside.with_name(_short(inside.name if path.suffix == ".png" else f"{inside.name}.png"))

    def __len__(self) -> int:
        return sum(count_rows(path) if is_parquet(path) else 1 for path in self.paths)

    def __iter__(self) -> Iterator[Item]:
        for path in self.paths:
            target = self.target(path)
            if not is_parquet(path):
                yield Item(str(path), target.as_posix(), path.read_bytes, self.reading)
                continue
            reading = reading_in(path) or self.reading
            rows = read_parquet(path, name="", source_split="unknown", columns=Columns(image=self.image_column))
            for number, row in enumerate(rows):
                yield Item(row.where, (target / f"{number:08d}.png").as_posix(), row.read, reading)

    def digests(self) -> list[list[str]]:
        """Name and sha256 of each file, or the reason why it cannot be read."""
        return [[path.relative_to(self.root).as_posix(), _digest(path)] for path in self.paths]


def find_inputs(path: str | Path, image_column: str = "image", reading: Reading = BY_DEFAULT) -> Inputs:
    """The images that `path` names; hidden files are ignored, every other file counts as an image.

    Raises:
        UserError: there is no file, or two would give the same completion.
    """
    path = Path(path)
    if path.is_file():
        return Inputs(path.parent, (path,), image_column, reading)
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; give an image, a Parquet file or a folder of them")
    below = sorted(found for found in path.rglob("*") if found.is_file())
    shown = (found for found in below if not any(part.startswith(".") for part in found.relative_to(path).parts))
    inputs = Inputs(path, tuple(shown), image_column, reading)
    if not inputs.paths:
        raise UserError(f"{path}: holds no file; give an image, a Parquet file or a folder of them")
    _check_names(inputs)
    return inputs


def _short(name: str) -> str:
    """The name itself, or one that a file system takes (255 bytes) and that hangs on the whole of it."""
    if len(name.encode(errors="surrogateescape")) <= _MOST_BYTES:
        return name
    end = "".join(Path(name).suffixes[-2:])[-24:]
    mark = f"~{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:12]}{end}"
    kept = name.encode(errors="surrogateescape")[: _MOST_BYTES - len(mark.encode(errors="surrogateescape"))]
    return kept.decode(errors="ignore") + mark


def _check_names(inputs: Inputs) -> None:
    seen: dict[Path, Path] = {}
    for path in inputs.paths:
        target = inputs.target(path)
        taken = [place for place in (target, *target.parents) if place in seen]
        if taken:
            raise UserError(f"{seen[taken[0]]} and {path} would both become {target}; rename one of them")
        seen[target] = path


def _digest(path: Path) -> str:
    try:
        return files.digest_file(path)
    except OSError as error:
        return str(error.strerror)
