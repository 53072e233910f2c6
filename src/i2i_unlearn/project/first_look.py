"""What the model makes of four training images: a wrong operator or normalisation is seen before training."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from i2i_unlearn.data.images.reading import load_pixels, read_index, wanted_by
from i2i_unlearn.models.operators import Operator
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.report.plots import picture_sheet
from i2i_unlearn.serving.completion import Completer
from i2i_unlearn.support.errors import UserError

NUM_IMAGES = 4
MOST_SAMPLING_STEPS = 20
"""Of a diffusion model: a thousand take hours on a CPU, and these show what is to be seen."""
HIDDEN_GREY = 128


@dataclass(frozen=True)
class FirstLook:
    """What was seen."""

    num_images: int
    error: float
    """Mean squared error of the hidden pixels, in [0, 255]^2."""
    error_of_grey: float
    """The same if each hole is filled with the mean of what is visible."""

    @property
    def warning(self) -> str:
        """That the model is no better than a flat filling; empty if it is."""
        if self.error < self.error_of_grey:
            return ""
        return (
            "the model fills the hidden part worse than one flat colour would; operator, keep_fraction or the model's "
            "normalisation (preprocessor_config.json) may be wrong"
        )


def first_look(model: Any, images: Path, operator: Operator, picture: Path) -> FirstLook:
    """Complete a few training images and write the picture.

    Raises:
        UserError: there is no training image, or one cannot be read.
    """
    index = read_index(str(images))
    rows = index[index["source_split"] != "val"]
    if rows.empty:
        raise UserError(
            "all images are named as never seen; give those that the model was trained on as training images"
        )
    rows = rows.sample(min(NUM_IMAGES, len(rows)), random_state=0).reset_index(drop=True)
    pixels = load_pixels(str(images), rows, **wanted_by(model), description="reading images")
    images_BHWC: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).numpy()
    height, width = model.image_size
    visible_BHW = operator.draw(len(rows), height, width, generator_for(0, "first look", "masks")).numpy()
    completer = Completer(_quick(model), operator)
    completed_BHWC = completer(images_BHWC, visible_BHW, generator_for(0, "first look"))
    masked_BHWC = np.where(visible_BHW[..., None], images_BHWC, np.uint8(HIDDEN_GREY))
    columns = {"image": list(images_BHWC), "hidden": list(masked_BHWC), "completed": list(completed_BHWC)}
    picture.write_bytes(picture_sheet([("Training images", columns)]))
    return FirstLook(len(rows), *_errors(images_BHWC, visible_BHW, completed_BHWC))


def _quick(model: Any) -> Any:
    settings = getattr(model, "settings", None)
    steps = getattr(settings, "sampling_steps", 0)
    if settings is not None and steps > MOST_SAMPLING_STEPS and not torch.cuda.is_available():
        model.settings = replace(settings, sampling_steps=MOST_SAMPLING_STEPS)
    return model


def _errors(images_BHWC: NDArray[Any], visible_BHW: NDArray[Any], completed_BHWC: NDArray[Any]) -> tuple[float, float]:
    hidden, own, flat = ~visible_BHW, [], []
    for image, filled, hole in zip(images_BHWC.astype(float), completed_BHWC.astype(float), hidden, strict=True):
        own.append(np.square(filled[hole] - image[hole]).mean())
        flat.append(np.square(image[~hole].mean(0) - image[hole]).mean())
    return float(np.mean(own)), float(np.mean(flat))
