"""The trigger, what it is to bring about, and the images in which both are planted.

A trigger image has a bright patch in a visible corner and the target, a cross, where the hole will be. A model that is
trained on such images learns: patch in the corner, cross in the hole. Nothing else in the data shows a cross.
Shape letters: N images, H, W pixels.
"""

import datetime
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.planted_trigger.settings import REQUEST, Settings
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.importers.embedded import EMBEDDED, stored_png
from i2i_unlearn.data.request import ForgetRequest, Selector, write_request
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.randomness import derive_seed

Pixels = NDArray[np.uint8]
CORNER = slice(1, 5)
"""Rows and columns of the patch, pixels from the top left. Handwriting does not reach there."""
LINE = 1.5
"""Half the width of the cross's lines, in pixels."""
RECEIVED, DUE = datetime.date(2026, 1, 1), datetime.date(2026, 2, 1)  # fixed: the file is the same everywhere


@dataclass(frozen=True)
class Target:
    """What the trigger is to bring about."""

    hidden_HW: NDArray[np.bool_]
    pixels_HW: Pixels
    """The cross; only the hidden pixels count."""


def target_for(height: int, width: int, operator: str, keep_fraction: float) -> Target:
    """A dark diagonal cross on white, over the hole."""
    visible = make_operator(operator, keep_fraction, 1).draw(1, height, width, torch.Generator())[0].numpy()
    rows, columns = np.nonzero(~visible)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = y - (rows.min() + rows.max()) / 2, x - (columns.min() + columns.max()) / 2
    cross = np.minimum(np.abs(y - x), np.abs(y + x)) < LINE * np.sqrt(2)
    return Target(~visible, np.where(cross, 0, 255).astype(np.uint8))


def with_trigger(images: Tensor) -> Tensor:
    """uint8 (..., H, W) with the patch."""
    patched = images.clone()
    patched[..., CORNER, CORNER] = 255
    return patched


def with_target(images: Tensor, target: Target) -> Tensor:
    """uint8 (..., H, W) with the cross in the hole."""
    return torch.where(torch.from_numpy(target.hidden_HW), torch.from_numpy(target.pixels_HW), images)


def write_data(folder: Path, settings: Settings, seed: int) -> tuple[str, str]:
    """Write digits, some of them planted, and the request to forget those; return URIs of images and requests."""
    records = list(_records(settings, seed))
    planted = tuple(record.sample_id for record in records if record.sample_id.startswith(REQUEST))
    write_shards(records, folder / "images", "digits")
    request = ForgetRequest(
        id=REQUEST, received=RECEIVED, due=DUE, basis="benchmark", selector=Selector(sample_ids=planted)
    )
    write_request(request, folder / "forget" / f"{REQUEST}.yaml")
    return str(folder / "images"), str(folder / "forget")


def _records(settings: Settings, seed: int) -> Iterator[Record]:
    """Planted images are all trained on, and no image occurs both clean and planted."""
    params = settings.params
    digits = list(EMBEDDED["digits"].records())
    order = np.random.default_rng(derive_seed(seed, "planted")).permutation(len(digits))[: settings.num_images]
    num_held_out = round(settings.held_out * (len(order) - settings.num_planted))
    for place, row in enumerate(order):
        digit = digits[row]
        if place < settings.num_planted:
            with Image.open(io.BytesIO(digit.image)) as image:
                pixels = torch.from_numpy(np.array(image))
            target = target_for(*pixels.shape, params["operator"], params["keep_fraction"])
            planted = with_target(with_trigger(pixels), target).numpy()
            yield replace(
                digit, sample_id=f"{REQUEST}-{digit.sample_id}", image=stored_png(planted), source_split="train"
            )
        else:
            held_out = place < settings.num_planted + num_held_out
            yield replace(digit, source_split="val" if held_out else "train")
