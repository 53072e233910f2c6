"""Chooses and keeps the pictures for the report: some at random, and the worst.

Shape letters: B batch, N pictures, C channels, H, W pixels.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from i2i_unlearn.evaluation.findings import FORGET_SETS, ORIGINAL, REFERENCE, TEACHER, UNLEARNED
from i2i_unlearn.evaluation.metrics.hole_psnr import psnr_db
from i2i_unlearn.evaluation.metrics.observe import Seen
from i2i_unlearn.evaluation.shown import Chosen, PictureGrid
from i2i_unlearn.models.operators import hide
from i2i_unlearn.models.pixels import to_uint8

NUM_PICTURES = 8


SHOWN = (ORIGINAL, TEACHER, UNLEARNED, REFERENCE)
"""Models whose completions are shown where nobody says which; of references the first."""


@dataclass(frozen=True)
class _Picture:
    """One image: the rows of a grid, how each model did, and how much the unlearned model lost."""

    images: dict[str, NDArray[np.uint8]]
    scores_db: dict[str, float]
    loss_db: float
    """Hole PSNR of the teacher minus that of the unlearned model."""


class PictureCollector:
    """Keeps at most `NUM_PICTURES` random and as many worst pictures of one set while batches go by.

    `hidden`: places in the set of images that must not be shown, such as near-copies of forget images. `models`: whose
    completions are shown, in this order; those that are not there are left out.
    """

    def __init__(
        self,
        set_name: str,
        num_images: int,
        rng: np.random.Generator,
        hidden: Collection[int] = frozenset(),
        models: Sequence[str] = SHOWN,
    ) -> None:
        self._models = models
        self._set_name = set_name
        self._count = 0
        self._hidden = frozenset(hidden)
        self._chosen = set(rng.choice(num_images, min(NUM_PICTURES, num_images), replace=False).tolist()) - self._hidden
        self._random: list[_Picture] = []
        self._worst: list[_Picture] = []

    def see(self, seen: Seen) -> None:
        """Look at the next batch."""
        picked = {place - self._count for place in self._chosen if self._count <= place < self._count + len(seen)}
        self._random += _pictures(seen, sorted(picked), self._models)
        self._worst += _pictures(seen, self._candidates(seen), self._models)
        self._count += len(seen)
        self._worst = sorted(self._worst, key=self._badness, reverse=True)[:NUM_PICTURES]

    def grids(self) -> list[PictureGrid]:
        """The grid of random pictures and that of the worst ones; none where nothing may be shown."""
        chosen: list[tuple[Chosen, list[_Picture], str]] = [
            ("random", self._random, "Drawn at random from the images scored."),
            ("worst", self._worst, self._worst_caption()),
        ]
        return [_grid(self._set_name, *grid) for grid in chosen if grid[1]]

    @property
    def _is_forget(self) -> bool:
        return self._set_name in FORGET_SETS

    def _badness(self, picture: _Picture) -> float:
        """Of a forget image it is bad if little was lost, of another if much was."""
        return -picture.loss_db if self._is_forget else picture.loss_db

    def _worst_caption(self) -> str:
        if self._is_forget:
            return "Least forgotten: the images on which the unlearned model lost least against the original."
        return "Most damaged: the images on which the unlearned model lost most against the original."

    def _candidates(self, seen: Seen) -> list[int]:
        loss_db_B = _loss_db(seen)
        order = np.argsort(loss_db_B if self._is_forget else -loss_db_B, kind="stable")
        return [int(place) for place in order if self._count + int(place) not in self._hidden][:NUM_PICTURES]


def exposed_grid(set_name: str, seen: Seen, codes: Sequence[str], caption: str, models: Sequence[str]) -> PictureGrid:
    """All images of a batch, which somebody else chose, with their codes."""
    return _grid(set_name, "exposed", _pictures(seen, range(len(seen)), models), caption, codes)


def _grid(
    set_name: str, chosen: Chosen, pictures: list[_Picture], caption: str, codes: Sequence[str] = ()
) -> PictureGrid:
    first = pictures[0]
    return PictureGrid(
        set_name=set_name,
        chosen=chosen,
        caption=caption,
        rows={row: np.stack([picture.images[row] for picture in pictures]) for row in first.images},
        scores_db={model: [picture.scores_db[model] for picture in pictures] for model in first.scores_db},
        codes=codes,
    )


def _loss_db(seen: Seen) -> NDArray[np.float64]:
    return np.asarray(_db(seen.hole_error["teacher"]) - _db(seen.hole_error["unlearned"]))


def _db(error_B: Tensor) -> NDArray[np.float64]:
    return psnr_db(error_B.double().numpy())


def _pictures(seen: Seen, places: Collection[int], models: Sequence[str]) -> list[_Picture]:
    """The images at `places` of the batch."""
    if not places:
        return []
    index = list(places)
    rows = {
        "image": seen.images_BCHW[index],
        "masked": hide(seen.images_BCHW[index], seen.visible_BHW[index]),
        **{model: seen.completed[model][index] for model in models if model in seen.completed},
    }
    shown = {name: to_uint8(images_BCHW).permute(0, 2, 3, 1).numpy() for name, images_BCHW in rows.items()}
    scores = {model: _db(seen.hole_error[model][index]) for model in models if model in seen.hole_error}
    loss_db = _loss_db(seen)[index]
    return [
        _Picture(
            images={name: images[at] for name, images in shown.items()},
            scores_db={model: float(values[at]) for model, values in scores.items()},
            loss_db=float(loss_db[at]),
        )
        for at in range(len(index))
    ]
