"""From an encoded image file to pixels: the one place that deals with unusual kinds of images.

kind                            becomes
EXIF orientation                applied: the picture is upright (unless `Reading.exif_orientation` is false)
EXIF that cannot be read        ignored: the pixels are whole
transparency (RGBA, LA, ...)    laid over white
palette, 1 bit                  their colours; 0 and 255
16 bit (grey or colour)         the high byte: 65535 -> 255, 256 -> 1, 255 -> 0
10, 12 ... bits in 16-bit grey  the high byte of the bits in use, which `Reading.bits` says: 12 bits, 4095 -> 255
32 bit integers                 as 16 bit if they fit, else refused
32 bit floats                   refused: their range is not known
CMYK, YCbCr, LAB, HSV           to RGB by Pillow's formulas, colour profiles are not applied
colour for a grey model         luma .299 R + .587 G + .114 B
grey for a colour model         three equal channels
several frames                  the first one
more pixels than `max_pixels`   refused; Pillow's limit, unless `Reading.max_pixels` says more
another size                    as the model's preprocessor_config.json says (models/preprocessor.py); for models made
                                here, shorter side scaled (bicubic, antialiased), the middle cut out
"""

import io
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from i2i_unlearn.config.sections import ImagesConfig
from i2i_unlearn.support.errors import UserError

if TYPE_CHECKING:  # models imports torch, which takes seconds
    from i2i_unlearn.models.preprocessor import Fit

_TO_RGB = frozenset({"CMYK", "YCbCr", "LAB", "HSV", "RGBX"})
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PILLOWS_LIMIT = threading.Lock()  # held while Pillow's own limit, a global one, is off


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How image files become pixels: as the loader did that the model was trained with."""

    exif_orientation: bool = True
    """Whether a picture is turned upright as its EXIF says."""
    bits: int = 16
    """Bits in use of 16-bit grey files, 8 to 16."""
    max_pixels: int = 178_956_970
    """Most pixels of a picture; Pillow's own limit against small files that unpack to gigabytes."""

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Reading":
        """As section `images` of params.yaml says; the default where a params.yaml of earlier has none.

        Raises:
            UserError: the section has a wrong key or value.
        """
        if ImagesConfig.section not in params:
            return cls()
        return cls(**ImagesConfig.from_params(params).model_dump())


BY_DEFAULT = Reading()


@dataclass
class Depths:
    """What was seen of pictures with 16 bits per channel."""

    num_images: int = 0
    largest: int = 0
    in_colour: bool = False

    def warning(self, reading: Reading) -> str:
        """A line where their top bits are empty, so that all of them become nearly black; else nothing."""
        used = self.largest.bit_length()
        if not self.num_images or used >= reading.bits:
            return ""
        use = f"if they are of {max(used, 8)} bits, set images.bits to that in params.yaml"
        return (
            f"{self.num_images} images of 16 bits per channel use at most {used} bits (their largest value is"
            f" {self.largest}), but are read as {reading.bits} bits: they become dark;"
            f" {'save those in colour with 8 bits' if self.in_colour else use}"
        )


def decode_each(
    images: Iterable[tuple[str, Callable[[], bytes], Reading]],
    *,
    image_size: tuple[int, int],
    num_channels: int,
    fit: "Fit | None" = None,
    on_broken: Callable[[str], None] | None = None,
    depths: Depths | None = None,
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Place and pixels (C, H, W) of each image, given by its name, what reads its bytes, and how.

    With `on_broken`, an image that cannot be read or decoded is left out and the reason goes there.

    Raises:
        UserError: as `decode`, where there is no `on_broken`.
    """
    for place, (name, read, reading) in enumerate(images):
        try:
            picture = open_image(read(), name=name, reading=reading, depths=depths)
            pixels_CHW = fitted(picture, image_size=image_size, num_channels=num_channels, fit=fit, name=name)
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
    return fitted(open_image(encoded, name=name), image_size=image_size, num_channels=num_channels)


def fitted(
    picture: Image.Image,
    *,
    image_size: tuple[int, int],
    num_channels: int,
    fit: "Fit | None" = None,
    name: str = "the image",
) -> NDArray[np.uint8]:
    """Pixels (C, H, W) of what `open_image` returned; `image_size` is (height, width).

    `fit` is the model's own way to make pictures of another size fit; None = the middle, cut out.

    Raises:
        UserError: the picture, called `name`, does not fit the model.
    """
    image = picture.convert("L" if num_channels == 1 else "RGB")
    height, width = image_size
    if fit is not None:
        image = _fitted_as(fit, image, image_size, name)
    elif image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if num_channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _fitted_as(fit: "Fit", image: Image.Image, image_size: tuple[int, int], name: str) -> Image.Image:
    """The picture in the size that the model takes, as transformers' processors make it."""
    height, width = image_size
    if fit.size is None and fit.shortest_edge is None and not fit.crop and image.size != (width, height):
        raise UserError(
            f"{name}: is {image.height} x {image.width} pixels, the model takes {height} x {width}, and its "
            "preprocessor_config.json has do_resize: false; scale the images yourself, or write do_resize: true there"
        )
    size = None if fit.size is None else fit.size[::-1]
    if fit.shortest_edge is not None:
        long = int(fit.shortest_edge * max(image.size) / min(image.size))
        size = (fit.shortest_edge, long) if image.width <= image.height else (long, fit.shortest_edge)
    if size is not None and image.size != size:
        image = image.resize(size, resample=Image.Resampling(fit.resample))
    if fit.crop and image.size != (width, height):
        if image.height < height or image.width < width:
            raise UserError(
                f"{name}: {image.height} x {image.width} pixels are too few for {height} x {width}, and the model's "
                "preprocessor_config.json does not scale them; give larger images"
            )
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    return image


def open_image(
    encoded: bytes, *, name: str, reading: Reading = BY_DEFAULT, depths: Depths | None = None
) -> Image.Image:
    """The whole picture, 8 bit, mode L or RGB, in its original size; `depths` is told of pictures with 16 bits.

    Raises:
        UserError: as `decode`; or the picture has more pixels than `reading` allows.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is not damage
            with _opened(encoded, name, reading) as image:
                is_deep = has_16_bits(image)
                image.load()
                upright = _upright(image) if reading.exif_orientation else image
                picture = _eight_bit(upright, name, reading, is_deep)
                if depths is not None and is_deep:
                    depths.num_images += 1
                    depths.largest = max(depths.largest, _largest(image))
                    depths.in_colour |= not image.mode.startswith("I")
                return picture
    except UserError:
        raise
    except Exception as error:  # whatever a decoder of Pillow's raises, the file is one that cannot be decoded
        reason = " ".join(str(error).split()).replace("<_io.BytesIO object at ", "<").partition("<")[0].strip()
        raise UserError(
            f"{name}: the image cannot be decoded ({reason or type(error).__name__});"
            " repair or remove the file and import again"
        ) from None


def open_header(encoded: bytes) -> Image.Image:
    """A picture whose pixels are not read yet, of any size."""
    try:
        return Image.open(io.BytesIO(encoded))
    except UnidentifiedImageError:  # Pillow's word for EXIF, too, that it stumbles over
        bare = _without_exif(encoded)
        if bare == encoded:
            raise
        return Image.open(io.BytesIO(bare))
    except Image.DecompressionBombError:
        with _PILLOWS_LIMIT:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return Image.open(io.BytesIO(encoded))
            finally:
                Image.MAX_IMAGE_PIXELS = limit


def has_16_bits(image: Image.Image) -> bool:
    """Whether a picture whose pixels are not read yet has 16 bits per channel, or 32 of whole numbers."""
    tile = getattr(image, "tile", [])
    return image.mode.startswith("I") or (bool(tile) and ";16" in str(tile[0][3]))  # raw modes RGB;16L ...


def _without_exif(encoded: bytes) -> bytes:
    """A JPEG file without its application segments 1, which hold EXIF; other files as they are."""
    if not encoded.startswith(b"\xff\xd8"):
        return encoded
    kept, at = [encoded[:2]], 2
    while encoded[at : at + 1] == b"\xff" and encoded[at + 1 : at + 2] not in (b"", b"\xda"):  # the scan begins
        end = at + 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
        kept += [] if encoded[at + 1] == 0xE1 else [encoded[at:end]]  # noqa: PLR2004
        at = end
    return b"".join([*kept, encoded[at:]])


def _opened(encoded: bytes, name: str, reading: Reading) -> Image.Image:
    image = open_header(encoded)
    if image.width * image.height > reading.max_pixels:
        raise UserError(
            f"{name}: the image cannot be decoded: {image.width} x {image.height} pixels are more than"
            f" images.max_pixels, {reading.max_pixels}; raise that in params.yaml if the file is sound"
        )
    return image


def _upright(image: Image.Image) -> Image.Image:
    """As ImageOps.exif_transpose, but the other EXIF entries, which may be of wrong types, are not written again."""
    turned = None
    with suppress(Exception):  # EXIF that cannot be read: the pixels are as they are
        turned = _TURNED.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turned is None else image.transpose(turned)


def _largest(image: Image.Image) -> int:
    """The largest value of a picture with 16 bits per channel; of colour, Pillow keeps the high byte alone."""
    largest = int(np.asarray(image).max())
    return largest if image.mode.startswith("I") else largest << 8 | 255


def _eight_bit(image: Image.Image, name: str, reading: Reading, is_deep: bool) -> Image.Image:
    if image.mode == "F":
        raise UserError(f"{name}: the image holds 32 bit floats of unknown range; save it with 8 or 16 bit")
    if image.mode.startswith("I"):
        return _high_byte(image, name, reading.bits)
    if is_deep and reading.bits < 16:  # noqa: PLR2004
        raise UserError(
            f"{name}: the image has 16 bits per channel in colour, of which only the high byte can be read, and"
            f" images.bits is {reading.bits}; save it with 8 bits"
        )
    if image.mode in _TO_RGB:
        return image.convert("RGB")
    if image.mode == "La":  # grey times alpha, of TIFF files; Pillow turns it into nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode == "P":
        return image.convert("RGB")
    return image.convert("RGB" if image.mode == "RGB" else "L")


def _high_byte(image: Image.Image, name: str, bits: int) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() >= 1 << bits:
        more = f", more than images.bits, {bits}, allows; correct that in params.yaml"
        remedy = "; save it with 8 or 16 bit" if bits == 16 else more  # noqa: PLR2004
        raise UserError(f"{name}: the image holds integers from {values.min()} to {values.max()}{remedy}")
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8))
