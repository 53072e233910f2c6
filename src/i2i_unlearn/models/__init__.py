"""Families of image-to-image generators, by name. A new family = a file and a line in `FAMILIES`.

A user's own class needs neither (own.py): `own` is its name in params.yaml, empty if there is none.
"""

import importlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from i2i_unlearn.models.directory import LIBRARY_TYPES, read_config
from i2i_unlearn.models.own import import_own
from i2i_unlearn.models.whole import check_whole
from i2i_unlearn.support.errors import UserError

FAMILIES = {
    "mae": "i2i_unlearn.models.mae:MaskedAutoencoder",
    "diffusion": "i2i_unlearn.models.diffusion.model:DiffusionInpainter",
    "latent_diffusion": "i2i_unlearn.models.diffusion.latent:LatentInpainter",
    "vqgan": "i2i_unlearn.models.vqgan.model:MaskedTokenModel",
}
"""Name -> module:Class. Imported when used: each brings its own library, which takes seconds."""

CHANNELS = (1, 3)
OWN = "own"
"""What `pretrain.family` calls the class that `model` names."""


def family_named(name: str, own: str = "") -> Any:
    """The class of a family (Any: a torch module that meets models.base.ImageToImage).

    Raises:
        UserError: there is no such family, it is `own` and no class is named, or a class is named for another family.
    """
    if name == OWN and own:
        return import_own(own)
    if name == OWN or own:
        raise UserError(
            f"pretrain.family={name!r} and model={own!r} do not fit; for your own class write family: own and "
            "model: my_package.my_module:MyGenerator, for any other family leave model empty"
        )
    if name not in FAMILIES:
        raise UserError(f"family={name!r} is not known; choose one of: {', '.join((*FAMILIES, OWN))}")
    module, _, family = FAMILIES[name].partition(":")
    return getattr(importlib.import_module(module), family)


def _family_of(folder: str | Path, own: str) -> Any:
    config = read_config(folder)
    if "family" not in config:
        known = ", ".join(f"{name} ({family})" for name, family in LIBRARY_TYPES.items())
        raise UserError(
            f"{folder}/config.json: names no family, and model_type={config.get('model_type')!r} belongs to none; "
            f"known: {known}"
        )
    if ":" in str(config["family"]):
        return _own_class(folder, config["family"], own)
    return family_named(config["family"])


def _own_class(folder: str | Path, family: str, own: str) -> Any:
    if family != own:
        raise UserError(
            f"{folder}/config.json names the class {family}, and loading it would run that code, but params.yaml has "
            f"model: {own!r}; if you know the code and trust it, write model: {family}"
        )
    return import_own(own)


def load_model(folder: str | Path, own: str = "") -> Any:
    """Load a model directory of any family, in evaluation mode, on the CPU: an `ImageToImage`.

    Raises:
        UserError: the directory is missing, incomplete, damaged, of no known family, or of a class that is not `own`.
    """
    family = _family_of(folder, own)
    try:
        if family.family in FAMILIES:  # a class of one's own reads what it likes
            check_whole(folder)
        model = _supported(family.load(folder), folder).eval()
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder}: its weights cannot be read ({reason}); fetch it again") from None
    broken = [name for name, one in model.named_parameters() if not one.isfinite().all()]
    if broken:
        raise UserError(
            f"{folder}: its weights (*.safetensors) are not finite: {len(broken)} tensors, first {broken[0]}; make the"
            " model again, or fetch it again"
        )
    return model


def load_architecture(folder: str | Path, own: str = "", *, generator: Any) -> Any:
    """A model like the one in `folder` with new random weights (from a `torch.Generator`); its weights are not read.

    Raises:
        UserError: the directory is missing, incomplete, of no known family, or of a class that is not `own`.
    """
    return _supported(_family_of(folder, own).load_architecture(folder, generator=generator), folder)


def _supported(model: Any, folder: str | Path) -> Any:
    if model.num_channels not in CHANNELS:
        raise UserError(
            f"{folder}: the model takes images of {model.num_channels} channels; images here have 1 (grey) or 3 "
            "(colour), so give a model of one of these"
        )
    return model
