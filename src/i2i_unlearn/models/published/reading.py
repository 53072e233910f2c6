"""Reads a file of torch.save without running what is in it.

Only tensors and plain containers are taken (`weights_only=True`). MAE's training script stores its command line as an
`argparse.Namespace`, which is a plain container too: that class is let in, by name, and said. Anything else that a file
asks for is refused with the name of what it wanted to load.
"""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.support.errors import UserError

WRAPPERS = ("model", "state_dict")
"""Keys under which training scripts keep the weights."""
_WANTED = re.compile(r"GLOBAL ([\w.]+)")
_ALLOWED = {"argparse.Namespace": argparse.Namespace}


@dataclass(frozen=True)
class Content:
    """What is in a checkpoint."""

    path: Path
    tensors: Mapping[str, Tensor]
    """The weights, by the file's own names."""
    settings: Mapping[str, Any]
    """The command line of the training script, where the file has it."""
    notes: list[str] = field(default_factory=list)
    wrapper: str = ""
    """The key under which the weights lie; empty = they are the file."""


def read_checkpoint(path: Path) -> Content:
    """Weights and settings of a file.

    Raises:
        UserError: no such file; it is damaged, asks for code, or holds no weights; or a number in it is not finite.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; correct the path")
    found, notes = _load(path)
    outer = found if isinstance(found, dict) else {}
    wrapper = next((key for key in WRAPPERS if isinstance(outer.get(key), dict)), None)
    weights = outer[wrapper] if wrapper else outer
    tensors = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{path}: holds no weights; give a file with a state dict, alone or under {_listed(WRAPPERS)}")
    broken = [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise UserError(f"{path}: {_first(broken)} not finite; fetch the file again")
    settings = outer.get("args")
    known = vars(settings) if isinstance(settings, argparse.Namespace) else {}
    return Content(path, tensors, known, notes, wrapper or "")


def _load(path: Path) -> tuple[Any, list[str]]:
    """What torch.save wrote, and a note on each class that had to be let in."""
    allowed: list[str] = []
    while True:
        try:
            with torch.serialization.safe_globals([_ALLOWED[name] for name in allowed]):
                found = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file may end in any error
            wanted = _WANTED.search(str(error))
            if wanted is None:
                raise UserError(f"{path}: is not a file of torch.save, or is damaged; fetch it again") from None
            if wanted[1] not in _ALLOWED or wanted[1] in allowed:
                raise UserError(
                    f"{path}: wants to load {wanted[1]}, which may run code, and is refused; save its weights alone "
                    "(a state dict) where you trust it"
                ) from None
            allowed.append(wanted[1])
        else:
            return found, [
                f"{path.name} holds an object of {name}, a plain container, which was let in" for name in allowed
            ]


def check_fit(content: Content, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Compare names and shapes with what a format asks for.

    Raises:
        UserError: some are missing, left over or of another shape: the first of each, and how many more.
    """
    tensors = content.tensors
    missing = sorted(set(wanted) - set(tensors))
    extra = sorted(set(tensors) - set(wanted))
    shapes = sorted(name for name in set(wanted) & set(tensors) if tuple(tensors[name].shape) != wanted[name])
    told = [
        *([f"{_first(missing)} missing"] if missing else []),
        *([f"{_first(extra)} left over"] if extra else []),
        *([f"{_first(shapes)} of another shape"] if shapes else []),
    ]
    if shapes:
        told.append(f"{shapes[0]} has {tuple(tensors[shapes[0]].shape)} where {wanted[shapes[0]]} is wanted")
    if told:
        raise UserError(f"{content.path}: {'; '.join(told)}; give the file as it was published")


def _first(names: list[str]) -> str:
    """`a is`, or `a, b, c and 4 more are`."""
    shown = ", ".join(names[:3])
    more = len(names) - 3
    return f"{names[0]} is" if len(names) == 1 else f"{shown} and {more} more are" if more > 0 else f"{shown} are"


def _listed(names: tuple[str, ...]) -> str:
    return " or ".join(f"`{name}`" for name in names)
