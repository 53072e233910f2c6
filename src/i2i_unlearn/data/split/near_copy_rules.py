"""What becomes of near-copies of images that are to be forgotten.

Each request says it with `near_duplicates`, erased requests too, so that forgotten images do not return as copies:

    include   as if the request had named them: forgotten with the rest
    drop      role `dropped`: no model is trained on them (not even the reference) and none is evaluated on them
    keep      they keep their role and are listed; the default, since copies may show people who asked for nothing

If two requests concern the same image, the stricter setting applies: include before drop before keep. Whatever the
setting, a held-out image with a near-copy that was trained on is `dropped` if a request selects one of the two: it is
no longer a never-seen image. Images of equal bytes are near-copies without a search; under `keep` they are an error
(roles.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from i2i_unlearn.data.images.holdout import TRAIN
from i2i_unlearn.data.request import ForgetRequest

Flags = NDArray[np.bool_]
FindPairs = Callable[[Flags, Flags], pd.DataFrame]
"""Flags of the anchors, flags of possible copies -> pairs: anchor, copy, hash_bits, correlation, cosine."""

PAIR = ["anchor", "copy", "hash_bits", "correlation", "cosine"]
INCLUDED, DROPPED, KEPT = "included", "dropped", "kept"


@dataclass(frozen=True)
class Selection:
    """A request and the images that it names."""

    request: ForgetRequest
    selected: Flags
    is_erased: bool
    """Whether the request is fulfilled."""


@dataclass(frozen=True)
class Settled:
    """What the requests' settings amount to; one entry per image, except `pairs`."""

    forget: Flags
    erase: Flags
    drop: Flags
    pairs: pd.DataFrame
    """Columns `PAIR` and request (its number among the selections): the best pair of each copy and request."""


def settle(index: pd.DataFrame, part: NDArray[np.object_], selections: Sequence[Selection], find: FindPairs) -> Settled:
    """Find the near-copies of the selected images and do with them what the requests say.

    `index` has the column sha256, `part` is train or holdout for each image, `selections` are all requests, active and
    erased.
    """
    named, trained = any_of(selections, len(index)), part == TRAIN
    erased = any_of([one for one in selections if one.is_erased], len(index))
    pairs = pd.concat([_exact(index, named, selections), find(named, ~named | (~trained & ~erased))])
    pairs = pairs.drop_duplicates(["anchor", "copy"])[PAIR].astype({"anchor": int, "copy": int})
    # Between two named images only a pair of a trained and a held-out one matters.
    anchor, copy = pairs["anchor"].to_numpy(), pairs["copy"].to_numpy()
    pairs = pairs[~named[copy] | (trained[anchor] & ~trained[copy])]
    forget, erase, drop = _by_setting(pairs, selections, named)
    leaves = _no_longer_unseen(pairs, trained) & ~erased
    listed = _best(_both_ways(pairs, trained, leaves), selections)
    return Settled(forget & ~erase & ~leaves, erase & ~leaves, leaves | (drop & ~forget & ~erase), listed)


def any_of(selections: Sequence[Selection], num_images: int) -> Flags:
    """Images that any of the requests selects."""
    none = np.zeros(num_images, dtype=bool)
    return np.asarray(np.any([none, *(one.selected for one in selections)], axis=0))


def _exact(index: pd.DataFrame, named: Flags, selections: Sequence[Selection]) -> pd.DataFrame:
    """Pairs of equal bytes, for requests that do not keep near-copies."""
    settled = any_of([one for one in selections if one.request.near_duplicates != "keep"], len(index))
    numbered = pd.DataFrame({"number": np.arange(len(index)), "sha256": index["sha256"].to_numpy()})
    both = numbered[settled].merge(numbered[~named], on="sha256")
    return pd.DataFrame(
        {"anchor": both["number_x"], "copy": both["number_y"], "hash_bits": 0, "correlation": 1.0, "cosine": 1.0}
    )


def _by_setting(pairs: pd.DataFrame, selections: Sequence[Selection], named: Flags) -> tuple[Flags, Flags, Flags]:
    """Images to forget, to erase and to drop in addition to the named ones."""
    forget, erase, drop = (np.zeros(len(named), dtype=bool) for _ in range(3))
    for selection in selections:
        copies = pairs.loc[selection.selected[pairs["anchor"].to_numpy()], "copy"].to_numpy()
        if selection.request.near_duplicates == "include":
            (erase if selection.is_erased else forget)[copies] = True
        elif selection.request.near_duplicates == "drop":
            drop[copies] = True
    return forget & ~named, erase & ~named, drop & ~named


def _no_longer_unseen(pairs: pd.DataFrame, trained: Flags) -> Flags:
    """Held-out images of which a near-copy was trained on."""
    leaves = np.zeros(len(trained), dtype=bool)
    for one, other in (("anchor", "copy"), ("copy", "anchor")):
        held_out = ~trained[pairs[one].to_numpy()] & trained[pairs[other].to_numpy()]
        leaves[pairs.loc[held_out, one].to_numpy()] = True
    return leaves


def _both_ways(pairs: pd.DataFrame, trained: Flags, leaves: Flags) -> pd.DataFrame:
    """The pairs, and the reverse of those whose anchor leaves the holdout because of the copy."""
    because = leaves[pairs["anchor"].to_numpy()] & trained[pairs["copy"].to_numpy()]
    reverse = pairs[because].rename(columns={"anchor": "copy", "copy": "anchor"})
    both: pd.DataFrame = pd.concat(
        [pairs.assign(named=pairs["anchor"]), reverse.assign(named=reverse["copy"])], ignore_index=True
    )
    return both


def _best(pairs: pd.DataFrame, selections: Sequence[Selection]) -> pd.DataFrame:
    """For each request and each of its copies, the pair with the highest correlation."""
    parts = []
    for number, selection in enumerate(selections):
        parts.append(pairs[selection.selected[pairs["named"].to_numpy(dtype=int)]].assign(request=number))
    every = pd.concat(parts).sort_values(
        ["copy", "request", "correlation", "anchor"], ascending=[True, True, False, True]
    )
    best: pd.DataFrame = every.drop_duplicates(["copy", "request"])[[*PAIR, "request"]].reset_index(drop=True)
    return best
