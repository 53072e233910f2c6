"""Altered copies of an image, on which the filter's hit rate is measured.

Images are uint8 (H, W, C).
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
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
