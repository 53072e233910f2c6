"""The images nearest to a photograph: by description among all images, by pixels among the nearest.

Descriptions (description.py) put the images in order. The first ones are then read, and their small grey pictures are
laid over the photograph's: of the whole, of 126 parts of either, turned and mirrored, the best correlation counts.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from i2i_unlearn.data.images.layout import MORE, open_shard, shard_damage_told
from i2i_unlearn.data.images.reading import iter_pictures
from i2i_unlearn.data.search.description import (
    Descriptions,
    Templates,
    middle_square,
    similarities,
    templates,
    turned,
)
from i2i_unlearn.data.search.index import Opened
from i2i_unlearn.data.split.picture_hash import SIDE, boxes, standardised, thumbnail, versions

_NAMES = ("sample_id", "label", "subject", "sha256", *(column.name for column in MORE))
_ROWS = 16384  # compared at a time: 4 MB of floats
_LAID_OVER = boxes((0.96, 0.92, 0.88, 0.84, 0.8), (0, 0.25, 0.5, 0.75, 1))
SAME = 0.94
"""Least correlation of pixels at which a picture is called the same (docs/results/find.md)."""


@dataclass(frozen=True)
class Named:
    """An image of the shards."""

    shard: str
    row: int
    sample_id: str
    labels: tuple[str, ...]
    subjects: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Found(Named):
    """An image that looks like a photograph."""

    picture: Image.Image
    correlation: float
    """Of the small grey pictures, laid over each other in the best way; 1 = the same."""

    @property
    def is_same(self) -> bool:
        """Whether it is taken for the same picture."""
        return self.correlation >= SAME


def nearest(
    opened: Opened,
    images: str,
    photograph: Image.Image,
    top: int,
    is_forgotten: Callable[[str], bool] | None = None,
) -> tuple[list[Found], int]:
    """The `top` images that look most like the photograph, and how many were passed over.

    `is_forgotten` tells by an image's sha256 whether it must not be shown.

    Raises:
        UserError: an image is damaged.
    """
    kept: list[Named] = []
    num_hidden = 0
    places = ranked(opened, photograph)
    while len(kept) < top and (some := list(itertools.islice(places, top - len(kept)))):
        named = look_up(images, some)
        shown = [one for one in named if is_forgotten is None or not is_forgotten(one.sha256)]
        num_hidden += len(named) - len(shown)
        kept += shown
    return _compared(images, photograph, kept), num_hidden


def ranked(opened: Opened, picture: Image.Image) -> Iterator[tuple[str, int]]:
    """Shard and row of every image, the most similar description first."""
    template = templates(picture)
    scores_N = np.concatenate([_scores(template, shard.descriptions) for shard in opened.shards])
    ends = np.cumsum([shard.num_images for shard in opened.shards])
    for place in _in_order(scores_N):
        number = int(np.searchsorted(ends, place, side="right"))
        shard = opened.shards[number]
        yield shard.name, int(place - ends[number] + shard.num_images)


def _scores(template: Templates, images: Descriptions) -> NDArray[np.float32]:
    starts = range(0, len(images.values), _ROWS)
    blocks = (
        Descriptions(images.values[start : start + _ROWS], images.lengths[start : start + _ROWS]) for start in starts
    )
    return np.concatenate([similarities(template, block) for block in blocks])


def _in_order(scores_N: NDArray[np.float32]) -> Iterator[int]:
    """Places from the highest score down; only a few are ever asked for, so all are sorted only if they are."""
    first = min(1000, len(scores_N))
    top = np.argpartition(-scores_N, first - 1)[:first]
    yield from top[np.argsort(-scores_N[top], kind="stable")].tolist()
    yield from np.argsort(-scores_N, kind="stable")[first:].tolist()


def look_up(images: str, places: Sequence[tuple[str, int]]) -> list[Named]:
    """What the images at these places (shard, row) are called, in their order.

    Raises:
        UserError: a shard is damaged.
    """
    rows = pd.DataFrame(places, columns=["shard", "row"])
    found: dict[int, Named] = {}
    for name, of_shard in rows.groupby("shard"):
        shard = str(name)
        with open_shard(images, shard) as file, shard_damage_told(images, shard):
            columns = [column for column in _NAMES if column in file.schema_arrow.names]
            ends = np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)])
            groups = np.searchsorted(ends, of_shard["row"], side="right")
            for group in np.unique(groups).tolist():
                table = file.read_row_group(group, columns=columns)
                table.validate(full=True)  # text that is not UTF-8
                first = int(ends[group]) - len(table)
                for place, row in of_shard["row"][groups == group].items():
                    found[place] = _named(shard, row, table.slice(row - first, 1).to_pylist()[0])
    return [found[place] for place in range(len(places))]


def _named(shard: str, row: int, held: dict[str, Any]) -> Named:
    labels, subjects = (
        tuple(filter(None, (held[column], *(held.get(f"more_{column}s") or ())))) for column in ("label", "subject")
    )
    return Named(shard, row, held["sample_id"], labels, subjects, held["sha256"])


def _compared(images: str, photograph: Image.Image, named: Sequence[Named]) -> list[Found]:
    """These images with their pictures, the best correlation first."""
    rows = pd.DataFrame([(one.shard, one.row) for one in named], columns=["shard", "row"]).sort_values(["shard", "row"])
    laid = LaidOver(photograph)
    found = [
        Found(**asdict(named[place]), picture=picture, correlation=laid.correlation(picture))
        for place, picture in zip(rows.index.tolist(), iter_pictures(images, rows), strict=True)
    ]
    return sorted(found, key=lambda one: -one.correlation)


class LaidOver:
    """A photograph that pictures are laid over: whole, in eight ways, and its parts, upright and mirrored."""

    def __init__(self, photograph: Image.Image) -> None:
        seen = [photograph, *([middle_square(photograph)] if photograph.width != photograph.height else [])]
        seen_NHW = np.stack([thumbnail(one) for one in seen])
        self._whole_KP = standardised(np.stack([way_HW for one_HW in seen_NHW for way_HW in turned(one_HW)]))
        self._parts_KP = standardised(versions(seen_NHW, _LAID_OVER).reshape(-1, SIDE, SIDE))

    def correlation(self, picture: Image.Image) -> float:
        """The best one of a picture and a part of the photograph, or of the photograph and a part of the picture."""
        own_HW = thumbnail(picture)
        own_parts_KP = standardised(versions(own_HW[None], _LAID_OVER)[0])
        part_of_it = self._parts_KP @ standardised(own_HW)
        return float(max(part_of_it.max(), (self._whole_KP @ own_parts_KP.T).max()))
