"""Which images are trained on and which are held out: decided by the bytes of an image, before any request.

Nothing here depends on requests, so a new request never changes what the original was trained on.
"""

import hashlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

TRAIN = "train"
HOLDOUT = "holdout"


def training_part(index: pd.DataFrame, *, holdout_fraction: float, seed: int) -> NDArray[np.object_]:
    """`train` or `holdout` for each image of `index` (columns source_split, sha256).

    The source's own split decides where it is known (train is trained on, val is held out), otherwise a draw from the
    image's bytes, so adding or removing images moves no other image. If one copy of an image is trained on, all its
    copies are `train`.
    """
    source = index["source_split"].to_numpy(dtype=object)
    held_out = draws(index, "holdout", seed) < holdout_fraction
    train = np.where(source == "unknown", ~held_out, source == "train")
    trained_bytes = index.loc[train, "sha256"]
    return np.where(index["sha256"].isin(trained_bytes), TRAIN, HOLDOUT).astype(object)


def draws(index: pd.DataFrame, purpose: str, seed: int) -> NDArray[np.float64]:
    """One number in [0, 1) per image, a function of its bytes, `purpose` and `seed` only.

    Draws for two purposes are independent of each other.
    """
    prefix = f"{purpose}:{seed}:"
    digests = (hashlib.sha256(f"{prefix}{sha256}".encode()).digest() for sha256 in index["sha256"])
    return np.array([int.from_bytes(digest[:6], "big") / 2**48 for digest in digests], dtype=np.float64)
