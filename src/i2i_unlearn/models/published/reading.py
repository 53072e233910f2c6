"""Reads a file of torch.save without running what is in it.

Only tensors and plain containers are taken (`weights_only=True`). MAE's training script stores its command line as an
`argparse.Namespace`, which is a plain container too: that class is let in, by name, and said. Anything else that a file
asks for is refused with the name of what it wanted to load.
"""

import argparse
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.support.errors import UserError

WRAPPERS = ("model", "state_dict", "model_state_dict", "net", "network", "params")
"""Keys under which training scripts keep the weights, the likeliest first."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""Of every name in files written by DistributedDataParallel, torch.compile and Lightning."""
AVERAGE = "ema"
"""In the keys of a second set of weights, the moving average of the first."""
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
    prefix: str = ""
    """What all names in the file begin with, left out of `tensors`."""
    places: Mapping[str, Path] = field(default_factory=dict)
    """Files of the tensors whose names begin so, where they are from another file than `path`."""

    def file_of(self, name: str) -> Path:
        """The file that holds, or should hold, the tensor `name`."""
        return next((path for start, path in self.places.items() if name.startswith(start)), self.path)


def read_checkpoint(path: Path, key: str = "") -> Content:
    """Weights and settings of a file.

    `key` names the set of weights to take where the file holds several; empty = the one under the first of `WRAPPERS`.

    Raises:
        UserError: no such file; it is damaged, asks for code, or holds no weights; or a number in it is not finite.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; correct the path")
    found, notes = _load(path)
    outer = found if isinstance(found, dict) else {}
    sets = [name for name, value in outer.items() if isinstance(value, dict) and _tensors(value)]
    if key and key not in sets:
        raise UserError(
            f"snapshot.checkpoint.weights={key!r}: {path} holds no weights under it; it holds them "
            f"{'under ' + ', '.join(map(str, sets)) if sets else 'without a key: leave the option out'}"
        )
    wrapper = key or next((name for name in WRAPPERS if name in sets), None)
    stored = _tensors(outer[wrapper] if wrapper else outer)
    if not stored:
        found = f"found under {_listed(tuple(map(str, sets)))}: name one, snapshot.checkpoint: {{weights: KEY}}"
        raise UserError(
            f"{path}: holds no weights; give a file with a state dict, alone or under {_listed(WRAPPERS)}"
            f"{'; ' + found if sets else ''}"
        )
    others = [str(name) for name in sets if name != wrapper and (AVERAGE in str(name) or name in WRAPPERS)]
    if others:
        notes.append(
            f"{path.name} holds weights under {', '.join(map(str, [wrapper, *others]))}; {wrapper} is taken "
            f"(snapshot.checkpoint: {{weights: {others[0]}}} takes the other)"
        )
    prefix = _common_prefix(stored)
    tensors = {name.removeprefix(prefix): value for name, value in stored.items()}
    if prefix:
        notes.append(f"{path.name} has {prefix} before every name, which is left out")
    broken = [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise UserError(f"{path}: {_first(broken)} not finite; fetch the file again")
    settings = outer.get("args")
    known = vars(settings) if isinstance(settings, argparse.Namespace) else {}
    return Content(path, tensors, known, notes, wrapper or "", prefix)


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in content.items() if isinstance(value, Tensor) and isinstance(name, str)}


def _common_prefix(names: Iterable[str]) -> str:
    """What training scripts put before every name: some of `PREFIXES`, in any order."""
    names, prefix = list(names), ""
    while found := next((one for one in PREFIXES if all(n.startswith(prefix + one) for n in names)), ""):
        prefix += found
    return prefix


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
        where = content.file_of([*missing, *extra, *shapes][0])
        raise UserError(f"{where}: {'; '.join(told)}; give the file as it was published")


def _first(names: list[str]) -> str:
    """`a is`, or `a, b, c and 4 more are`."""
    shown = ", ".join(names[:3])
    more = len(names) - 3
    return f"{names[0]} is" if len(names) == 1 else f"{shown} and {more} more are" if more > 0 else f"{shown} are"


def _listed(names: tuple[str, ...]) -> str:
    return " or ".join(f"`{name}`" for name in names)
