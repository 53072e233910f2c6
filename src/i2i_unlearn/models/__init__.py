"""Families of image-to-image generators, by name. A new family = a file and a line in `FAMILIES`."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from i2i_unlearn.compat_torchvision import ensure_torchvision
from i2i_unlearn.errors import UserError
from i2i_unlearn.models.directory import read_config

if importlib.util.find_spec("torchvision"):  # a GPU box may do without
    ensure_torchvision()  # before transformers, which imports it
from i2i_unlearn.models.mae import MaskedAutoencoder  # noqa: E402

FAMILIES: dict[str, Any] = {  # Any: classes that meet models.base.ImageToImage and are torch modules
    MaskedAutoencoder.family: MaskedAutoencoder,
}


def family_named(name: str) -> Any:
    """The class of a family.

    Raises:
        UserError: there is no such family.
    """
    if name not in FAMILIES:
        raise UserError(f"family={name!r} is not known; choose one of: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def _family_of(folder: str | Path) -> Any:
    model_type = read_config(folder).get("model_type")
    for family in FAMILIES.values():
        if family.model_type == model_type:
            return family
    known = ", ".join(f"{family.model_type} ({name})" for name, family in FAMILIES.items())
    raise UserError(f"{folder}/config.json: model_type={model_type!r} is of no known family; known: {known}")


def load_model(folder: str | Path) -> Any:
    """Load a model directory of any family, in evaluation mode, on the CPU: an `ImageToImage`.

    Raises:
        UserError: the directory is missing, incomplete, damaged, or of no known family.
    """
    family = _family_of(folder)
    try:
        return family.load(folder).eval()
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder}: model.safetensors cannot be read ({reason}); fetch it again") from None


def load_architecture(folder: str | Path, *, generator: torch.Generator) -> Any:
    """A model like the one in `folder` with new random weights; its weights are not read.

    Raises:
        UserError: the directory is missing, incomplete, or of no known family.
    """
    return _family_of(folder).load_architecture(folder, generator=generator)
