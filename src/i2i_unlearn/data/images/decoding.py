"""From an encoded image file to pixels: the one place that deals with unusual kinds of images.

kind                            becomes
EXIF orientation                applied: the picture is upright
transparency (RGBA, LA, ...)    laid over white
palette, 1 bit                  their colours; 0 and 255
16 bit (grey or colour)         the high byte: 65535 -> 255, 256 -> 1, 255 -> 0
32 bit integers                 as 16 bit if they fit, else refused
32 bit floats                   refused: their range is not known
CMYK, YCbCr, LAB, HSV           to RGB by Pillow's formulas, colour profiles are not applied
colour for a grey model         luma .299 R + .587 G + .114 B
grey for a colour model         three equal channels
several frames                  the first one
another size                    shorter side scaled (bicubic, antialiased), the middle cut out
"""

import io
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from i2i_unlearn.support.errors import UserError

# What Pillow raises on damaged files, found with the broken images of its own tests.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError, IndexError)
_TO_RGB = frozenset({"CMYK", "YCbCr", "LAB", "HSV", "RGBX"})


def decode_each(
    images: Iterable[tuple[str, Callable[[], bytes]]],
    *,
    image_size: tuple[int, int],
    num_channels: int,
    on_broken: Callable[[str], None] | None = None,
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Place and pixels (C, H, W) of each image, given by its name and what reads its bytes, one after the other.

    With `on_broken`, an image that cannot be read or decoded is left out and the reason goes there.

    Raises:
        UserError: as `decode`, where there is no `on_broken`.
    """
    for place, (name, read) in enumerate(images):
        try:
            pixels_CHW = decode(read(), image_size=image_size, num_channels=num_channels, name=name)
        except (UserError, OSError, ValueError) as error:
            if on_broken is None:
                raise
            reason = getattr(error, "strerror", None) or error
            on_broken(str(error) if isinstance(error, UserError) else f"{name}: {reason}")
            continue
        yield place, pixels_CHW


def decode(encoded: bytes, *, image_size: tuple[int, int], num_channels: int, name: str) -> NDArray[np.uint8]:
    """Pixels (C, H, W) of an encoded image; `image_size` is (height, width), `name` appears in error messages.

    Raises:
        UserError: the image is damaged or of a kind with no known range.
    """
    image = open_image(encoded, name=name).convert("L" if num_channels == 1 else "RGB")
    height, width = image_size
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if num_channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def open_image(encoded: bytes, *, name: str) -> Image.Image:
    """The whole picture, upright, 8 bit, mode L or RGB, in its original size.

    Raises:
        UserError: as `decode`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is not damage
            with Image.open(io.BytesIO(encoded)) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
    except _DAMAGE as error:
        reason = " ".join(str(error).split()).replace("<_io.BytesIO object at ", "<").partition("<")[0].strip()
        raise UserError(
            f"{name}: the image cannot be decoded ({reason or type(error).__name__});"
            " repair or remove the file and import again"
        ) from None
    return _eight_bit(upright, name)


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F":
        raise UserError(f"{name}: the image holds 32 bit floats of unknown range; save it with 8 or 16 bit")
    if image.mode.startswith("I"):
        return _high_byte(image, name)
    if image.mode in _TO_RGB:
        return image.convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode == "P":
        return image.convert("RGB")
    return image.convert("RGB" if image.mode == "RGB" else "L")


def _high_byte(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UserError(
            f"{name}: the image holds integers from {values.min()} to {values.max()}; save it with 8 or 16 bit"
        )
    return Image.fromarray((values >> 8).astype(np.uint8))
