"""The filter in use: which images are refused, by the largest cosine of their features with those of a forget image.

Features of a network are all positive, so any two images have a large cosine; around the mean of ordinary images the
cosines spread. Shape letters: B batch, N forget images, C channels, H, W pixels, D features.
"""

import datetime
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from i2i_unlearn.models.extractors import Extractor, extractor_label, load_extractor
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.serving.completion import CHUNK, Pixels
from i2i_unlearn.serving.guard.store import GuardFacts, Stored, read_guard
from i2i_unlearn.support.errors import UserError

GUARD_VARIABLE = "I2I_UNLEARN_GUARD"
"""Environment variable that tells a served version the filter's folder."""
_PROBE_SIDE = 32
_SAME = 0.999  # cosine; another processor or number of threads changes the sixth digit


@dataclass(frozen=True)
class Guard:
    """Refuses images that resemble one of the forget set too closely."""

    facts: GuardFacts
    extractor: Extractor
    mean_D: Tensor
    forget_ND: Tensor

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
    chunks = [
        extractor(
            to_float(torch.from_numpy(np.ascontiguousarray(images_BHWC[start : start + CHUNK])).permute(0, 3, 1, 2))
        )
        for start in range(0, len(images_BHWC), CHUNK)
    ]
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


def load_guard(folder: str | Path, today: datetime.date) -> Guard:
    """Read a guard and load its extractor.

    Raises:
        UserError: it is missing, damaged or expired, or its extractor is not the one it was made with.
    """
    stored = read_guard(folder)
    if today > stored.facts.expires:
        raise UserError(
            f"{folder}: the guard expired on {stored.facts.expires}; delete it if the requests"
            f" ({', '.join(stored.facts.requests)}) are carried out, else make a new one with a later --expires"
        )
    extractor = load_extractor(stored.facts.extractor, torch.device("cpu"))
    _check_extractor(folder, stored, extractor)
    return Guard(stored.facts, extractor, stored.mean_D, stored.forget_ND)


def _check_extractor(folder: str | Path, stored: Stored, extractor: Extractor) -> None:
    label = extractor_label(stored.facts.extractor)
    found = probe_features(extractor) if extractor.num_features == stored.probe_PD.shape[1] else None
    if label == stored.facts.extractor_label and found is not None:
        cosines = F.cosine_similarity(found.double(), stored.probe_PD.double())
        if bool((cosines > _SAME).all()):
            return
    raise UserError(
        f"{folder}: the installed extractor ({label}) is not the one that the guard was made with"
        f" ({stored.facts.extractor_label}, other weights or version); make the guard again, or install that one"
    )


def guard_from_environment() -> Guard | None:
    """The guard in the folder that I2I_UNLEARN_GUARD names; None where it is unset.

    Raises:
        UserError: as `load_guard`; a server that must filter does not start without its filter.
    """
    folder = os.environ.get(GUARD_VARIABLE)
    return load_guard(folder, datetime.datetime.now(datetime.UTC).date()) if folder else None
