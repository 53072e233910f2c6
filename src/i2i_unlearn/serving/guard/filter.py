"""The filter: its folder, and which images are refused, by the largest cosine of their features with a forget image's.

Features of a network are all positive, so any two images have a large cosine; around the mean of ordinary images the
cosines spread. Shape letters: B batch, N forget images, P probe images, C channels, H, W pixels, D features.

The folder (guard.json and features.safetensors, readable by its owner only) holds no pixels, ids or labels. Features
are still personal data: with them one can tell whether a given image is one of those to be forgotten. So the folder has
a last day and is deleted when the request is carried out.
"""

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from i2i_unlearn.models.extractors import Extractor, extractor_label, load_extractor
from i2i_unlearn.serving.completion import CHUNK, Pixels, as_floats
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError

GUARD_VARIABLE = "I2I_UNLEARN_GUARD"
"""Environment variable that tells a served version the filter's folder."""
SCHEMA_VERSION = 1
WHAT_IT_IS = "a filter for the time until the requests are carried out, not unlearning"
FACTS = "guard.json"
FEATURES = "features.safetensors"
_FOR_OWNER, _FOLDER_FOR_OWNER, _OTHERS = 0o600, 0o700, 0o077
_PROBE_SIDE = 32
_SAME = 0.999  # cosine; another processor or number of threads changes the sixth digit


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
class Guard:
    """Refuses images that resemble one of the forget set too closely."""

    facts: GuardFacts
    extractor: Extractor
    mean_D: Tensor
    forget_ND: Tensor
    """Directions of the forget images' features from the mean."""

    def similarities(self, images_BHWC: Pixels) -> NDArray[np.float64]:
        """Cosine with the nearest forget image, (B,)."""
        directions_BD = around(features_of(self.extractor, images_BHWC), self.mean_D)
        return (directions_BD @ self.forget_ND.T).amax(1).double().numpy()

    def refuses(self, images_BHWC: Pixels, completed_BHWC: Pixels) -> NDArray[np.bool_]:
        """True for each item whose image, as sent or as completed, is too similar."""
        both = np.maximum(self.similarities(images_BHWC), self.similarities(completed_BHWC))
        return np.asarray(both > self.facts.threshold)


def features_of(extractor: Extractor, images_BHWC: Pixels) -> Tensor:
    """Features (B, D) of uint8 images."""
    chunks = [extractor(as_floats(images_BHWC[start : start + CHUNK])) for start in range(0, len(images_BHWC), CHUNK)]
    return torch.cat(chunks) if chunks else torch.empty(0, extractor.num_features)


def around(features_BD: Tensor, mean_D: Tensor) -> Tensor:
    """Directions from the mean, of length 1 (or 0)."""
    return F.normalize(features_BD - mean_D, dim=1)


def probe_features(extractor: Extractor) -> Tensor:
    """Features of four fixed images, which identify an extractor independently of its name."""
    y, x = np.mgrid[:_PROBE_SIDE, :_PROBE_SIDE]
    waves = [y * 8, x * 8, (x // 8 + y // 8) % 2 * 255, np.hypot(x - 16, y - 16) * 11]
    images = np.stack([np.clip(wave, 0, 255).astype(np.uint8)[..., None] for wave in waves])
    return features_of(extractor, images)


def write_guard(guard: Guard, out: Path) -> None:
    """Write a guard, whole or not at all: folder mode 700, files 600."""
    with files.atomic_folder(out) as aside:
        aside.chmod(_FOLDER_FOR_OWNER)
        tensors = {"mean": guard.mean_D, "forget": guard.forget_ND, "probe": probe_features(guard.extractor)}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside / FEATURES)
        files.write_json(aside / FACTS, guard.facts.model_dump(mode="json"))
        for path in aside.iterdir():
            path.chmod(_FOR_OWNER)
    out.chmod(_FOLDER_FOR_OWNER)  # atomic_folder opens the folder itself to the other steps of a pipeline


def load_guard(folder: str | Path, today: datetime.date) -> Guard:
    """Read a guard and load its extractor.

    Raises:
        UserError: it is missing, damaged, expired, of another schema version, or readable by others than its owner, or
            its extractor is not the one it was made with.
    """
    facts, mean_D, forget_ND, probe_PD = _read(Path(folder))
    if today > facts.expires:
        raise UserError(
            f"{folder}: the guard expired on {facts.expires}; delete it if the requests"
            f" ({', '.join(facts.requests)}) are carried out, else make a new one with a later --expires"
        )
    extractor = load_extractor(facts.extractor, torch.device("cpu"))
    label = extractor_label(facts.extractor)
    if label != facts.extractor_label or not _is_same(extractor, probe_PD):
        raise UserError(
            f"{folder}: the installed extractor ({label}) is not the one that the guard was made with"
            f" ({facts.extractor_label}, other weights or version); make the guard again, or install that one"
        )
    return Guard(facts, extractor, mean_D, forget_ND)


def _read(folder: Path) -> tuple[GuardFacts, Tensor, Tensor, Tensor]:
    """The facts, the mean (D), the forget images' directions (N, D) and the probe's features (P, D)."""
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
    return facts, mean_D, forget_ND, probe_PD


def _is_same(extractor: Extractor, probe_PD: Tensor) -> bool:
    """Whether the extractor gives the probe's features, which identify it independently of its name."""
    if extractor.num_features != probe_PD.shape[1]:
        return False
    return bool((F.cosine_similarity(probe_features(extractor).double(), probe_PD.double()) > _SAME).all())


def guard_from_environment(model: str | Path) -> Guard | None:
    """The guard in the folder that I2I_UNLEARN_GUARD names, for the served model directory; None where it is unset.

    Raises:
        UserError: as `load_guard`, or it was made for another model; a server that must filter does not start without
            its filter.
    """
    folder = os.environ.get(GUARD_VARIABLE)
    if not folder:
        return None
    guard = load_guard(folder, datetime.datetime.now(datetime.UTC).date())
    served = files.digest_folder(model)
    if served != guard.facts.model_sha256:
        raise UserError(
            f"{folder}: this guard ({GUARD_VARIABLE}) was made for the model {guard.facts.model_sha256[:12]} and the "
            f"requests {', '.join(guard.facts.requests)}, but the model {served[:12]} is served; make one with "
            f"`i2i-unlearn guard make --model` and that model, or unset {GUARD_VARIABLE} if it has forgotten these"
        )
    return guard
