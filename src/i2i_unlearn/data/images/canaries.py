"""Canaries: held-out images, each of which enters the training of the original by the toss of a coin.

They measure what training gives away of single images (evaluation/audits/canaries.py). Before the coins are tossed, a
second coin puts each into the tested half: those of it that were included are withdrawn by a request of their own, so
that unlearning is measured as well. All is a function of the images' bytes, the seed and the number: as long as a model
that was trained with canaries is in use, the number stays and images are neither added nor removed.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from i2i_unlearn.data.images.holdout import HOLDOUT, TRAIN, draws, training_part
from i2i_unlearn.support.errors import UserError

CANARIES_FILE = "canaries.csv"
"""In the folder of the split: shard, row, included, tested."""
_COIN = 0.5
MOST_OF_HOLDOUT = 0.5
"""The rest is needed to evaluate with."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Canaries:
    """One flag per image of the index."""

    chosen: Flags
    included: Flags
    """Trained on."""
    tested: Flags

    def listed(self, index: pd.DataFrame) -> pd.DataFrame:
        """Columns shard, row, included, tested of the canaries."""
        every = index[["shard", "row"]].assign(included=self.included, tested=self.tested)
        return every[self.chosen]


def choose_canaries(index: pd.DataFrame, *, num: int, holdout_fraction: float, seed: int) -> Canaries:
    """Draw `num` of the held-out images of which there is no copy, and toss their coins.

    Raises:
        UserError: they would be more than half of these.
    """
    if not num:
        none = np.zeros(len(index), dtype=bool)
        return Canaries(none, none, none)
    part = training_part(index, holdout_fraction=holdout_fraction, seed=seed)
    able = (part == HOLDOUT) & ~index["sha256"].duplicated(keep=False).to_numpy()
    most = int(MOST_OF_HOLDOUT * able.sum())
    if num > most:
        raise UserError(
            f"pretrain.canaries={num}: at most half of the held-out images without copies may be canaries, {most} here;"
            " lower it"
        )
    order = np.where(able, draws(index, "canary", seed), np.inf)
    chosen = np.zeros(len(index), dtype=bool)
    chosen[np.argsort(order, kind="stable")[:num]] = True
    coin, half = (draws(index, purpose, seed) < _COIN for purpose in ("canary included", "canary tested"))
    return Canaries(chosen, chosen & coin, chosen & half)


def part_with_canaries(
    index: pd.DataFrame, *, canaries: int, holdout_fraction: float, seed: int
) -> NDArray[np.object_]:
    """`train` or `holdout` for each image; the canaries whose coin says so are `train`."""
    part = training_part(index, holdout_fraction=holdout_fraction, seed=seed)
    found = choose_canaries(index, num=canaries, holdout_fraction=holdout_fraction, seed=seed)
    part[found.included] = TRAIN
    return part
