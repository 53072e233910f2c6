"""What a request takes along and what it costs, before it is filed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from i2i_unlearn.config.sections import ReferenceConfig, SplitConfig, UnlearnConfig
from i2i_unlearn.data.filing import Workspace
from i2i_unlearn.data.images.canaries import part_with_canaries
from i2i_unlearn.data.images.holdout import TRAIN
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.request import ForgetRequest, named, read_ids, select, with_ids
from i2i_unlearn.data.split.near_copy_search import Search
from i2i_unlearn.support.files import read_json

MOST_NAMES = 10
"""Labels and persons that are told, those with most images first."""


@dataclass(frozen=True)
class Share:
    """Of one label or person."""

    column: str
    """label | subject"""
    name: str
    taken: int
    of: int
    """Training images of that name."""


@dataclass(frozen=True)
class Preview:
    """What a request takes along."""

    shares: tuple[Share, ...]
    near_copies: int | None
    """Images that it does not name and that look like copies of its own; None = not searched."""
    seconds: Mapping[str, float]
    """By stage, as they took here last, for the steps of the present settings; empty = nothing was run here."""


def look(
    request: ForgetRequest,
    workspace: Workspace,
    params: Mapping[str, Any],
    *,
    ids_file: Path | None = None,
    artifacts: Path = Path("artifacts"),
) -> Preview:
    """Look at the images and at what earlier runs recorded; nothing is changed.

    Raises:
        UserError: an entry of the selector matches no image, or an image is damaged.
    """
    request = with_ids(request, read_ids(ids_file)) if ids_file else request
    config, index = SplitConfig.from_params(params), read_index(workspace.images)
    part = part_with_canaries(
        index, canaries=config.canaries, holdout_fraction=config.holdout_fraction, seed=config.seed
    )
    selected = select(request, index, quote=True)
    near_copies = None
    if config.near_duplicates.search:
        pairs = Search(workspace.images, index, config.near_duplicates)(selected, ~selected)
        near_copies = int(pairs["copy"].nunique())
    return Preview(tuple(_shares(index, selected, part == TRAIN)), near_copies, dict(_seconds(params, artifacts)))


def _shares(index: pd.DataFrame, selected: Any, is_train: Any) -> Iterator[Share]:
    for column in ("label", "subject"):
        names = named(index, column)
        of = Counter(names[np.asarray(is_train)[names.index]])
        taken = Counter(names[np.asarray(selected & is_train)[names.index]])
        yield from (Share(column, name, count, of[name]) for name, count in taken.most_common(MOST_NAMES) if name)


def _seconds(params: Mapping[str, Any], artifacts: Path) -> Iterator[tuple[str, float]]:
    """Seconds that the long stages will take: those recorded, by the number of steps where there are steps."""
    reference = ReferenceConfig.from_params(params)
    steps = {"unlearn": UnlearnConfig.from_params(params).num_steps, "reference": reference.num_steps}
    recorded = {"unlearn": "unlearned/summary.json", "evaluate": "evaluation/summary.json"}
    if reference.count:
        recorded["reference"] = "reference/1/summary.json"
    for stage, name in recorded.items():
        if not (artifacts / name).is_file():
            continue
        found = read_json(artifacts / name)
        rate = steps[stage] / found["steps"] if stage in steps and found.get("steps") else 1.0
        if "seconds" in found:
            yield stage, found["seconds"] * rate * (reference.count if stage == "reference" else 1)


def told(preview: Preview, num_references: int) -> Iterator[str]:
    """The preview in lines."""
    for share in preview.shares:
        what = f"{share.column} {share.name}"
        yield f"{what}: {share.taken:,} of its {share.of:,} training images ({share.taken / max(share.of, 1):.0%})"
    if preview.near_copies is None:
        yield "near-copies: not searched for (split.near_duplicates.search is false)"
    else:
        yield f"near-copies of them that it does not name: {preview.near_copies:,} (option --near-duplicates)"
    yield f"time: {_time(preview.seconds, num_references)}"


def _time(seconds: Mapping[str, float], num_references: int) -> str:
    wanted: Sequence[str] = ["unlearn", *(["reference"] if num_references else []), "evaluate"]
    missing = [stage for stage in wanted if stage not in seconds]
    if missing:
        return f"not known yet: nothing is recorded here of {', '.join(missing)}"
    # Unlearning and retraining run side by side.
    total = max(seconds["unlearn"], seconds.get("reference", 0.0)) + seconds["evaluate"]
    parts = ", ".join(f"{stage} {_rounded(seconds[stage])}" for stage in wanted)
    return f"about {_rounded(total)}, as it took here last ({parts})"


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"  # noqa: PLR2004
