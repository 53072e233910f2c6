"""Makes, saves and loads a user's own model: a model directory of config.json and model.safetensors.

`load_weights(like, save_weights(model, folder, sizes))` has the same bits. Tied tensors are stored once.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from i2i_unlearn.models.directory import read_config
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import write_json

Module = TypeVar("Module", bound=nn.Module)

SIZES = "sizes"
"""Key of config.json under which a class finds what its constructor was given."""


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Let layers made inside draw their first weights from `generator`; the global stream is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        yield


def save_weights(model: Any, folder: str | Path, sizes: Mapping[str, Any]) -> None:
    """Write a model directory: the class's name (`model.family`) and `sizes` into config.json, tensors next to it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", {"family": model.family, SIZES: dict(sizes)})
    save_model(model, str(folder / "model.safetensors"))


def read_sizes(folder: str | Path) -> dict[str, Any]:
    """The `sizes` that `save_weights` wrote.

    Raises:
        UserError: the directory is missing or incomplete, or its config.json was not written by `save_weights`.
    """
    sizes = read_config(folder).get(SIZES)
    if not isinstance(sizes, dict):
        raise UserError(f"{folder}/config.json: has no key {SIZES!r}; fetch the directory again")
    return sizes


def load_weights(model: Module, folder: str | Path) -> Module:
    """Fill `model`, made with the same sizes, with the tensors of a model directory.

    Raises:
        UserError: a tensor is missing, left over, or of another shape.
    """
    try:
        load_model(model, Path(folder) / "model.safetensors")
    except RuntimeError as error:  # torch's own list of what does not fit
        raise UserError(f"{folder}: {' '.join(str(error).split())}; fetch the directory again") from None
    return model
