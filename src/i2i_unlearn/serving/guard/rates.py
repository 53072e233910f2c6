"""The filter's threshold, its rates, and the altered copies of images (uint8 H, W, C) on which hits are measured."""

import io
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest

from i2i_unlearn.serving.completion import Pixels
from i2i_unlearn.serving.guard.store import Rate

CONFIDENCE = 0.95
CROP = 0.8  # of each side
BRIGHTNESS = 1.4
JPEG_QUALITY = 40


def _with_picture(change: Callable[[Image.Image], Image.Image]) -> Callable[[Pixels], Pixels]:
    def changed(image_HWC: Pixels) -> Pixels:
        grey = image_HWC.shape[-1] == 1
        pixels = np.asarray(change(Image.fromarray(image_HWC[..., 0] if grey else image_HWC)), dtype=np.uint8)
        return pixels[..., None] if grey else pixels

    return changed


def _crop(picture: Image.Image) -> Image.Image:
    left, top = picture.width * (1 - CROP) / 2, picture.height * (1 - CROP) / 2
    box = (left, top, picture.width - left, picture.height - top)
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=box)


def _jpeg(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Image.open(buffer)


def _brighter(image_HWC: Pixels) -> Pixels:
    return (image_HWC * BRIGHTNESS).clip(0, 255).astype(np.uint8)


ALTERED: dict[str, Callable[[Pixels], Pixels]] = {
    "as it is": lambda image_HWC: image_HWC,
    "crop": _with_picture(_crop),
    "brightness": _brighter,
    "jpeg": _with_picture(_jpeg),
}


def threshold_for(similarities: NDArray[np.float64], false_alarms: float) -> float:
    """The lowest threshold at which at most `false_alarms` of these ordinary images are refused (refused = above it).

    With few images it is the largest similarity: 50 images cannot show a rate of 1 in 100.
    """
    allowed = math.floor(false_alarms * len(similarities))
    return float(np.sort(similarities)[len(similarities) - 1 - allowed])


def rate(similarities: NDArray[np.float64], threshold: float) -> Rate:
    """How many of these images are refused."""
    refused, total = int((similarities > threshold).sum()), len(similarities)
    interval = binomtest(refused, total).proportion_ci(CONFIDENCE, method="exact")
    return Rate(refused / total, float(interval.low), float(interval.high), total)
