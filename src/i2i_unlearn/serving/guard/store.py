"""The guard's folder: guard.json and features.safetensors, readable by its owner only.

It holds no pixels, ids or labels. Features are still personal data: with them one can tell whether a given image is one
of those to be forgotten. So the folder has a last day and is deleted when the request is carried out.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError

SCHEMA_VERSION = 1
WHAT_IT_IS = "a filter for the time until the requests are carried out, not unlearning"
FACTS = "guard.json"
FEATURES = "features.safetensors"
_FOR_OWNER, _FOLDER_FOR_OWNER, _OTHERS = 0o600, 0o700, 0o077


@dataclass(frozen=True)
class Rate:
    """A share of images that were refused, with its exact (Clopper-Pearson) 95 % interval."""

    value: float
    low: float
    high: float
    num_images: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}, {self.num_images} images)"


class GuardFacts(BaseModel):
    """guard.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int
    what: str
    requests: list[str]
    expires: datetime.date
    """Last day on which the filter may be used."""
    extractor: str
    """Its name, as in `evaluate.extractor`."""
    extractor_label: str
    threshold: float
    false_alarms: float
    """The requested rate."""
    measured: dict[str, Rate]
    """Rates with intervals: `false alarms`, and hits on forget images and altered copies of them."""
    num_forget: int
    operator: str
    keep_fraction: float
    model_sha256: str
    """The model whose completions were compared."""


@dataclass(frozen=True)
class Stored:
    """A guard as stored in its folder."""

    facts: GuardFacts
    mean_D: Tensor
    forget_ND: Tensor
    """Directions of the forget images' features from the mean."""
    probe_PD: Tensor
    """Features of the fixed probe images, which identify the extractor."""


def write_guard(stored: Stored, out: Path) -> None:
    """Write a guard, whole or not at all: folder mode 700, files 600."""
    with files.atomic_folder(out) as aside:
        aside.chmod(_FOLDER_FOR_OWNER)
        tensors = {"mean": stored.mean_D, "forget": stored.forget_ND, "probe": stored.probe_PD}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside / FEATURES)
        files.write_json(aside / FACTS, stored.facts.model_dump(mode="json"))
        for path in aside.iterdir():
            path.chmod(_FOR_OWNER)
    out.chmod(_FOLDER_FOR_OWNER)  # atomic_folder opens the folder itself to the other steps of a pipeline


def read_guard(folder: str | Path) -> Stored:
    """Read a guard.

    Raises:
        UserError: it is missing, damaged, of another schema version, or readable by others than its owner.
    """
    folder = Path(folder)
    if not (folder / FACTS).is_file():
        raise UserError(f"{folder}: no guard (no {FACTS} in it); make one with `i2i-unlearn guard make`")
    content: Any = files.read_json(folder / FACTS)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{folder}: has schema version {version}, this program reads {SCHEMA_VERSION}; make it again with"
            " `i2i-unlearn guard make`"
        )
    for path in (folder / FACTS, folder / FEATURES):
        if path.exists() and path.stat().st_mode & _OTHERS:
            raise UserError(
                f"{path}: is readable by others, and features are personal data; run: chmod -R go= {folder}"
            )
    try:
        facts = GuardFacts.model_validate(content)
        tensors = load_file(folder / FEATURES)
        mean_D, forget_ND, probe_PD = (tensors[name].to(torch.float32) for name in ("mean", "forget", "probe"))
    except (ValidationError, SafetensorError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{folder}: the guard is damaged ({reason}); make it again with `i2i-unlearn guard make`"
        ) from None
    return Stored(facts, mean_D, forget_ND, probe_PD)
