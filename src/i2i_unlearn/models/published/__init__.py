"""Checkpoints in the formats that their authors published: file -> model of one of our families.

A new format = a file and a line in `FORMATS`. Besides `matches` and `convert` the file has what the way back needs
(writing.py): `FAMILY`, `options_of`, `description_of` and `original_tensors`.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i_unlearn.models.published.reading import Content, read_checkpoint
from i2i_unlearn.support.errors import UserError

FORMATS = {
    "MAGE": "i2i_unlearn.models.published.mage",
    "MAE": "i2i_unlearn.models.published.mae",
    "Palette": "i2i_unlearn.models.published.palette",
}
"""Name -> module; MAGE first, since its files have all of MAE's names, too. Imported when a file is read: each brings
its family's library."""
SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pth.tar", ".tar")
"""Of files that torch.save wrote."""


@dataclass(frozen=True)
class Converted:
    """A model and what is to be known of how it was read."""

    model: Any
    """An `ImageToImage`, in evaluation mode."""
    notes: list[str]
    """For people, one line each."""


def is_checkpoint(source: str) -> bool:
    """Whether `source` names a file, of torch.save, rather than a model directory."""
    return (source.endswith(SUFFIXES) and not Path(source).is_dir()) or Path(source).is_file()


def convert_checkpoint(path: str | Path, options: Mapping[str, Any]) -> Converted:
    """Read a published checkpoint; nothing in it is executed.

    Args:
        path: the file.
        options: what the file does not tell, by the format's own names (section `snapshot`, key `checkpoint`).

    Raises:
        UserError: the file is damaged, asks for code, is of no known format, or does not fit its format; or an option
            is not known or missing.
    """
    content = read_checkpoint(Path(path), str(options.get("weights", "")))
    _, module = format_of(content)
    model, notes = module.convert(content, options)
    return Converted(model.eval(), [*content.notes, *notes])


def format_of(content: Content) -> tuple[str, Any]:
    """Name and module of a file's format.

    Raises:
        UserError: it is of no known one.
    """
    for name, place in FORMATS.items():
        module = importlib.import_module(place)
        if module.matches(content.tensors):
            return name, module
    first = ", ".join(sorted(content.tensors)[:3])
    raise UserError(f"{content.path}: of no known format (known: {', '.join(FORMATS)}); its first tensors are {first}")
