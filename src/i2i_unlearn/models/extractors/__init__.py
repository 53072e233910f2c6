"""Feature extractors, as plug-ins: images -> one row of features each.

`evaluate.extractor` is one line of text, so that it travels through every form:

    efficientnet_lite0                embedded: the weights come with a package
    inception_v3                      the network of the FID; its weights from torch's cache or by download
    inception_v3:FILE                 the same weights from a file
    clip:FOLDER                       a CLIP directory of transformers
    clip:OWNER/NAME@REVISION          the same from the Hugging Face hub, at a commit (40 hex digits)

FOLDER may end in @SHA256 (64 hex digits): then its digest is checked. FILE is always checked: only one set of weights
makes the FID. A new extractor = a file and a line here.
"""

from collections.abc import Callable

import torch

from i2i_unlearn.models.extractors.base import Classifier, Extractor
from i2i_unlearn.models.extractors.clip import load_clip
from i2i_unlearn.models.extractors.efficientnet_lite0 import load_efficientnet_lite0
from i2i_unlearn.models.extractors.inception_v3 import load_inception_v3
from i2i_unlearn.models.extractors.source import Source, digest_of, read_source
from i2i_unlearn.support.errors import UserError

__all__ = [
    "EXTRACTORS",
    "FROM_SOURCE",
    "Classifier",
    "Extractor",
    "extractor_label",
    "extractor_name",
    "load_extractor",
]

EXTRACTORS: dict[str, Callable[[torch.device], Extractor]] = {
    "efficientnet_lite0": load_efficientnet_lite0,
}
"""Extractors whose weights come with a package."""
FROM_SOURCE: dict[str, Callable[[Source | None, torch.device], Extractor]] = {
    "inception_v3": load_inception_v3,
    "clip": load_clip,
}
"""Extractors whose weights the user names."""


def extractor_name(setting: str) -> str:
    """The extractor's name in metrics.json, without paths of the machine: clip:FOLDER -> clip."""
    return setting.partition(":")[0]


def extractor_label(setting: str) -> str:
    """The extractor and the digest or commit of its weights, for the lineage; pinned or not.

    clip:FOLDER and clip:FOLDER@SHA256 -> clip@SHA256.
    """
    name, colon, rest = setting.partition(":")
    found = digest_of(read_source(setting, rest)) if colon else ""
    return f"{name}@{found}" if found else name


def load_extractor(setting: str, device: torch.device) -> Extractor:
    """The extractor that `evaluate.extractor` names.

    Raises:
        UserError: there is no such extractor, its package is not installed, or its weights are missing or not the ones
            that were pinned.
    """
    name, colon, rest = setting.partition(":")
    if name in FROM_SOURCE:
        return FROM_SOURCE[name](read_source(setting, rest) if colon else None, device)
    if name not in EXTRACTORS:
        known = ", ".join([*EXTRACTORS, *FROM_SOURCE])
        raise UserError(f"evaluate.extractor={setting!r} is not known; choose one of: {known}")
    if colon:
        raise UserError(f"evaluate.extractor={setting!r}: {name} brings its weights along; write {name} alone")
    return EXTRACTORS[name](device)
