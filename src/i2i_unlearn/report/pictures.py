"""Pictures for the page and the one picture file that shows the result at a glance.

Every picture that leaves this module went through `shown_grids`: the one place that withholds forget images.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2i_unlearn.evaluation.findings import FORGET_SETS
from i2i_unlearn.evaluation.shown import PictureGrid
from i2i_unlearn.report.facts import ReportFacts
from i2i_unlearn.report.words import COLUMN_MEANINGS, COLUMNS, PLAIN_SETS, SETS, in_order, number

PICTURE_BUDGET_BYTES = 2_600_000
"""PNG bytes on the page; base64 adds a third, plots and text little, and the page is to stay below 5 MB."""
FIRST_SETS = {name: f"Images {PLAIN_SETS[name]}" for name in ("forget", "retain")}
"""Shown first, under names that need no explanation."""
NUM_FIRST = 3
"""Rows of each."""
_TITLES = {"random": "Random", "worst": "Worst", "exposed": "Most exposed"}
_SIDES = (256, 192, 128, 96, 64)
_PIXELATED_BELOW = 96  # smaller images are enlarged; smoothing would show detail that is not there


@dataclass(frozen=True)
class PictureView:
    """One picture on the page."""

    column: str
    source: str
    """data: URI."""
    alt: str
    score: str
    """Hole PSNR with its unit, or nothing."""


@dataclass(frozen=True)
class GridView:
    """One grid on the page: a row for each image, a column for each model."""

    set_name: str
    set_title: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[PictureView]]
    pixelated: bool
    first: int = 1
    """Number of the first row; later rows count on."""
    codes: Sequence[str] = ()
    """Of the rows, where they are shown."""


def shown_grids(facts: ReportFacts) -> list[PictureGrid]:
    """The grids that may be shown, sets in reading order, worst before random: the reader looks for what went wrong.

    Forget images are dropped here unless the facts allow them, even if a caller put them into the facts.
    """
    allowed = [grid for grid in facts.pictures if facts.show_forget_images or grid.set_name not in FORGET_SETS]
    order = in_order(dict.fromkeys(grid.set_name for grid in allowed), SETS)
    return sorted(allowed, key=lambda grid: (order.index(grid.set_name), grid.chosen != "worst"))


def grid_views(grids: Sequence[PictureGrid]) -> tuple[list[GridView], str]:
    """Grids as text, and a sentence on what was cut to keep the page small (empty where nothing was)."""
    full = max((_num_rows(grid) for grid in grids), default=0)
    most_rows = full
    while True:
        for side in _SIDES:
            encoded = _encode_within_budget(grids, side, most_rows)
            if encoded is not None:
                views = [_view(grid, rows) for grid, rows in zip(grids, encoded, strict=True)]
                return views, _cut_sentence(grids, side, most_rows, full)
        # One row of the smallest pictures always fits: at most 9 grids x 8 columns x 64 x 64 x 3 bytes.
        most_rows = max(1, most_rows // 2)


def first_and_rest(views: Sequence[GridView]) -> tuple[list[GridView], list[GridView]]:
    """The few pictures to begin with, of images to forget and to keep, without their scores; and all others."""
    first, rest = [], []
    for view in views:
        num_first = NUM_FIRST if view.title == "Random" and view.set_name in FIRST_SETS else 0
        if num_first:
            rows = [[replace(picture, score="") for picture in row] for row in view.rows[:num_first]]
            first.append(replace(view, set_title=FIRST_SETS[view.set_name], rows=rows))
        if view.rows[num_first:]:
            rest.append(replace(view, rows=view.rows[num_first:], first=num_first + 1))
    return first, rest


def encode_png(image_HWC: NDArray[np.uint8], largest_side: int | None = None) -> bytes:
    """PNG bytes of an image with 1 or 3 channels, shrunk where a side is longer than `largest_side` pixels."""
    picture = Image.fromarray(image_HWC[..., 0] if image_HWC.shape[-1] == 1 else image_HWC)
    if largest_side is not None:
        picture.thumbnail((largest_side, largest_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """The picture as text that a page carries in itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def before_after_picture(facts: ReportFacts, *, num_images: int = 4) -> bytes:
    """One PNG: original, masked and every model's completion for a few forget and a few retain images.

    Where forget images may not be shown their half is left out and a line says so.
    """
    from i2i_unlearn.report.plots import picture_sheet

    grids = shown_grids(facts)
    blocks: list[tuple[str, Mapping[str, Sequence[NDArray[np.uint8]]]]] = []
    for title, names in (("Images to forget", ("forget",)), ("Images to keep", ("retain", "retain_holdout"))):
        for grid in grids:
            if grid.set_name in names and grid.chosen == "random":
                rows = {COLUMNS.get(name, name): list(images[:num_images]) for name, images in _columns(grid).items()}
                blocks.append((title, rows))
                break
    note = "" if facts.show_forget_images else "Forget images are withheld."
    return picture_sheet(blocks, note)


def _columns(grid: PictureGrid) -> dict[str, NDArray[np.uint8]]:
    return {name: grid.rows[name] for name in in_order(grid.rows, COLUMNS)}


def _num_rows(grid: PictureGrid) -> int:
    return min((len(images) for images in grid.rows.values()), default=0)


def _encode_within_budget(
    grids: Sequence[PictureGrid], largest_side: int, most_rows: int
) -> list[list[dict[str, bytes]]] | None:
    """Rows of PNG bytes by column, for each grid; None as soon as they are too many bytes."""
    encoded: list[list[dict[str, bytes]]] = []
    total = 0
    for grid in grids:
        columns = _columns(grid)
        encoded.append([])
        for row in range(min(_num_rows(grid), most_rows)):
            pictures = {name: encode_png(images[row], largest_side) for name, images in columns.items()}
            encoded[-1].append(pictures)
            total += sum(map(len, pictures.values()))
            if total > PICTURE_BUDGET_BYTES:
                return None
    return encoded


def _view(grid: PictureGrid, encoded: Sequence[Mapping[str, bytes]]) -> GridView:
    columns = _columns(grid)
    title = SETS.get(grid.set_name, grid.set_name)
    rows = [
        [_picture(grid, title, column, row, len(encoded), png) for column, png in pictures.items()]
        for row, pictures in enumerate(encoded)
    ]
    largest = max((max(images.shape[1:3]) for images in columns.values() if len(images)), default=0)
    return GridView(
        set_name=grid.set_name,
        set_title=title,
        title=_TITLES[grid.chosen],
        caption=grid.caption,
        columns=[COLUMNS.get(name, name) for name in columns],
        rows=rows,
        pixelated=largest < _PIXELATED_BELOW,
        codes=grid.codes[: len(rows)],
    )


def _picture(grid: PictureGrid, set_title: str, column: str, row: int, count: int, png: bytes) -> PictureView:
    scores = grid.scores_db.get(column)
    score = "" if scores is None or row >= len(scores) else f"{number(float(scores[row]), 2)} dB"
    alt = f"{set_title}, {grid.chosen} image {row + 1} of {count}: {COLUMN_MEANINGS.get(column, column)}"
    return PictureView(
        column=COLUMNS.get(column, column),
        source=data_uri(png),
        alt=f"{alt}, {score} in the hole" if score else alt,
        score=score,
    )


def _cut_sentence(grids: Sequence[PictureGrid], side: int, most_rows: int, full: int) -> str:
    largest = max((max(images.shape[1:3]) for grid in grids for images in grid.rows.values() if len(images)), default=0)
    cuts = []
    if side < largest:
        cuts.append(f"pictures are shrunk from {largest} to {side} pixels")
    if most_rows < full:
        cuts.append(f"only the first {most_rows} of {full} images of a set are shown")
    return f"To keep this page small, {' and '.join(cuts)}." if cuts else ""
