"""Model directories: config.json names the family, so no setting has to."""

import json
from pathlib import Path
from typing import Any

from i2i_unlearn.support.errors import UserError

LATENT = ("unet", "vae")
"""Subfolders of a latent inpainting directory."""
LIBRARY_TYPES = {"vit_mae": "mae"}
"""transformers' `model_type` -> family, for directories in that library's own layout."""


def read_config(folder: str | Path) -> dict[str, Any]:
    """The content of config.json, with `family` where the directory has the layout of a known library.

    A latent inpainting directory as diffusers writes it has no config.json; the content that ours would have is given.

    Raises:
        UserError: the directory or one of its files is missing, or config.json is not JSON.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists() and all((folder / part / "config.json").is_file() for part in LATENT):
        return {"family": "latent_diffusion"}
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json in it; give a model directory (config.json and model.safetensors)")
    if not any(folder.rglob("*.safetensors")):
        pickled = sorted(path.name for path in folder.rglob("*.bin"))
        hint = "give a model directory (config.json and model.safetensors)"
        if pickled:
            hint = pickled_told(pickled[0])
        raise UserError(f"{folder}: no model.safetensors in it; {hint}")
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{folder}/config.json: not valid JSON ({error}); fetch the directory again") from None
    if not isinstance(content, dict):
        raise UserError(
            f"{folder}/config.json: must hold keys, found {type(content).__name__}; fetch the directory again"
        )
    if content.get("model_type") in LIBRARY_TYPES:
        content.setdefault("family", LIBRARY_TYPES[content["model_type"]])
    return content


def pickled_told(name: str) -> str:
    """Why a file of pickled weights is not read, and what to do."""
    return (
        f"{name} may hold code and is not read; where you trust it, save it again: from_pretrained(FOLDER, "
        "use_safetensors=False).save_pretrained(FOLDER, safe_serialization=True)"
    )
