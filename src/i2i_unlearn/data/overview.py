"""Counts of what a set of images holds."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from i2i_unlearn.config.sections import SplitConfig
from i2i_unlearn.data.images.canaries import part_with_canaries
from i2i_unlearn.data.images.decoding import BY_DEFAULT, Depths, Reading, has_16_bits, open_header, open_image
from i2i_unlearn.data.images.holdout import TRAIN
from i2i_unlearn.data.images.layout import composed
from i2i_unlearn.data.images.reading import iter_encoded, read_index, shard_bytes
from i2i_unlearn.data.request import ForgetRequest, named, read_request, select
from i2i_unlearn.data.split.roles import Roles, assign_roles
from i2i_unlearn.support.errors import UserError

SIZED_PER_SHARD = 256


def overview(images: str) -> dict[str, Any]:
    """Shards, labels, source splits, subjects; pixel sizes and notes of the first 256 images of each shard.

    Raises:
        UserError: as `read_index`.
    """
    index = read_index(images)
    sizes, notes = _looked_at(images, index.groupby("shard").head(SIZED_PER_SHARD))
    return {
        "images": images,
        "num_images": len(index),
        "shards": {
            str(shard): {"num_images": len(rows), "bytes": shard_bytes(images, str(shard))}
            for shard, rows in index.groupby("shard")
        },
        "labels": _counts(named(index, "label")),
        "source_splits": _counts(index["source_split"]),
        "num_subjects": int(named(index, "subject").nunique()),
        "sizes": sizes,
        "notes": notes,
    }


def listed(images: str, *, labels: Sequence[str] = (), subjects: Sequence[str] = (), pattern: str = "") -> pd.DataFrame:
    """The images of the index that have one of the labels, one of the subjects, and an id in which `pattern` is found.

    What is empty asks nothing.

    Raises:
        UserError: as `read_index`; or the pattern is no regular expression, or a label or subject is nobody's.
    """
    wanted = _compiled(pattern)
    found = _of(images, labels, subjects)
    return found[[wanted.search(composed(sample_id)) is not None for sample_id in found["sample_id"]]]


def names_listed(
    images: str,
    column: Literal["label", "subject"],
    *,
    labels: Sequence[str] = (),
    subjects: Sequence[str] = (),
    pattern: str = "",
) -> dict[str, int]:
    """Labels or subjects in which `pattern` is found, sorted, with their numbers of images; otherwise as `listed`."""
    wanted = _compiled(pattern)
    counts = _counts(named(_of(images, labels, subjects), column))
    return {name: count for name, count in counts.items() if wanted.search(name)}


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(composed(pattern))
    except re.error as error:
        raise UserError(
            f"--grep {pattern!r} is not a regular expression ({error}); write \\ before . ( [ and the like"
        ) from None


def _of(images: str, labels: Sequence[str], subjects: Sequence[str]) -> pd.DataFrame:
    index = read_index(images)
    kept = np.ones(len(index), dtype=bool)
    for column, names in (("label", labels), ("subject", subjects)):
        if names:
            held = named(index, column)
            unknown = [name for name in names if composed(name) not in set(held)]
            if unknown:
                raise UserError(f"{images}: no image has the {column} {unknown[0]!r}; found: {_some(held)}")
            kept &= np.isin(np.arange(len(index)), held.index[held.isin(list(map(composed, names)))])
    return index[kept]


def _some(held: "pd.Series[str]") -> str:
    names = sorted(set(held))
    return ", ".join([*names[:20], *(["..."] if len(names) > 20 else [])]) or "none at all"


def _counts(column: "pd.Series[str]") -> dict[str, int]:
    return {str(value): int(count) for value, count in column.value_counts().sort_index().items()}


def _looked_at(images: str, rows: pd.DataFrame) -> tuple[dict[str, int], list[str]]:
    """How many images have which size and mode; and how shards are read, where not by default, and whether rightly."""
    sizes: Counter[str] = Counter()
    notes = []
    for shard, of_shard in rows.groupby("shard"):
        text = of_shard["reading"].iloc[0] if "reading" in of_shard else None
        reading, depths = BY_DEFAULT, Depths()
        if isinstance(text, str):
            reading = Reading(**json.loads(text))
            notes.append(f"{shard} is read with {text}")
        for encoded in iter_encoded(images, of_shard):
            with open_header(encoded) as image:
                sizes[f"{image.height}x{image.width} {image.mode}"] += 1
                is_deep = has_16_bits(image)
            if is_deep:
                open_image(encoded, name=str(shard), reading=reading, depths=depths)
        if warning := depths.warning(reading):
            notes.append(f"{shard}: {warning}")
    return dict(sizes.most_common()), notes


def selected_counts(request: ForgetRequest, images: str, config: SplitConfig) -> list[tuple[str, int, int]]:
    """Label, training images and held-out images that `request` selects, by label.

    Raises:
        UserError: as `read_index`.
    """
    index = read_index(images)
    part = part_with_canaries(
        index, canaries=config.canaries, holdout_fraction=config.holdout_fraction, seed=config.seed
    )
    chosen = index.assign(train=part == TRAIN)[select(request, index, strict=False)]
    return [
        (str(label), int(rows["train"].sum()), int((~rows["train"]).sum())) for label, rows in chosen.groupby("label")
    ]


def role_counts(index: pd.DataFrame, roles: Roles) -> dict[str, dict[str, int]]:
    """Numbers of images by role and label, of an index and what the split makes of it."""
    labels = index["label"].fillna("")
    found: dict[str, dict[str, int]] = {}
    for (role, label), count in sorted(Counter(zip(roles.role, labels, strict=True)).items()):
        found.setdefault(str(role), {})[str(label)] = count
    return found


def planned_counts(
    request: ForgetRequest, images: str, requests: Path, config: SplitConfig
) -> dict[str, dict[str, int]]:
    """`role_counts` of the run that carries out `request`: with the other active requests, if it is one of them.

    Near-copies are not searched for.

    Raises:
        UserError: as `assign_roles`.
    """
    active = config.requests if request.id in config.requests else [request.id]
    erased = [id_ for id_ in config.erased if id_ not in active]
    read = {id_: read_request(requests / f"{id_}.yaml") for id_ in [*active, *erased]}
    index = read_index(images)
    return role_counts(index, assign_roles(index, [read[i] for i in active], [read[i] for i in erased], config))
