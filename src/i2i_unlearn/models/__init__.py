"""Families of image-to-image generators, by name. A new family = a file and a line in `FAMILIES`."""

import importlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from i2i_unlearn.errors import UserError
from i2i_unlearn.models.directory import read_config

FAMILIES = {
    "mae": "i2i_unlearn.models.mae:MaskedAutoencoder",
    "diffusion": "i2i_unlearn.models.diffusion:DiffusionInpainter",
    "vqgan": "i2i_unlearn.models.vqgan:MaskedTokenModel",
}
"""Name -> module:Class. Imported when used: each brings its own library, which takes seconds."""

LIBRARY_TYPES = {"vit_mae": "mae"}
"""transformers' `model_type` -> family, for directories that a library wrote. Ours name the family in config.json."""


def family_named(name: str) -> Any:
    """The class of a family (Any: a torch module that meets models.base.ImageToImage).

    Raises:
        UserError: there is no such family.
    """
    if name not in FAMILIES:
        raise UserError(f"family={name!r} is not known; choose one of: {', '.join(FAMILIES)}")
    module, _, family = FAMILIES[name].partition(":")
    return getattr(importlib.import_module(module), family)


def _family_of(folder: str | Path) -> Any:
    config = read_config(folder)
    if "family" in config:
        return family_named(config["family"])
    model_type = config.get("model_type")
    if model_type not in LIBRARY_TYPES:
        known = ", ".join(f"{name} ({family})" for name, family in LIBRARY_TYPES.items())
        raise UserError(f"{folder}/config.json: model_type={model_type!r} is of no known family; known: {known}")
    return family_named(LIBRARY_TYPES[model_type])


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
        raise UserError(f"{folder}: its weights cannot be read ({reason}); fetch it again") from None


def load_architecture(folder: str | Path, *, generator: Any) -> Any:
    """A model like the one in `folder` with new random weights (from a `torch.Generator`); its weights are not read.

    Raises:
        UserError: the directory is missing, incomplete, or of no known family.
    """
    return _family_of(folder).load_architecture(folder, generator=generator)
