"""What a caller of the served model sends, and what is returned.

sent                                                           returned
numbers (B, H, W, C), 0-255                                    numbers of the same shape
strings: PNG or JPEG files in base64                           records {"image": PNG in base64}
columns `image` (either of these) and optionally `visible`     as `image` was sent

`visible` is a mask for each image: numbers (H, W) or a picture in base64, white (or 1) = kept, black (or 0) = to be
filled; null = the operator hides. Sizes must be the model's, so that all that was sent is completed. All input from
outside is checked here, before a model sees it.
Shape letters: B batch, C channels, H, W pixels.
"""

import base64
import binascii
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from i2i_unlearn.data.images.decoding import open_image
from i2i_unlearn.serving.completion import picture_of
from i2i_unlearn.support.errors import UserError

IMAGE, VISIBLE, REFUSED = "image", "visible", "refused"
REFUSAL = "refused by the filter for pending forget requests"
"""All that a caller learns: not which image it resembled, nor how closely."""
FORMATS = ("PNG", "JPEG")
_BYTES_PER_PIXEL = 8  # an uncompressed RGBA picture of 16 bits
_BYTES_OF_METADATA = 2**20  # colour profile, EXIF and the like
_WHITE = 128


@dataclass(frozen=True)
class Asked:
    """A request to complete images."""

    images_BHWC: NDArray[np.uint8]
    visible: list[NDArray[np.bool_] | None]
    """A mask (H, W) for each image, True = kept; None where the operator draws it."""
    encoded: bool
    """Whether the images came as picture files, and are returned as such."""


def read_payload(data: Any, image_size: tuple[int, int], num_channels: int) -> Asked:
    """Read what MLflow passes on of a request; `image_size` is (height, width).

    Raises:
        UserError: its form is not known, or an image or mask is not what the model takes.
    """
    columns = _columns(data)
    unknown = sorted(set(columns) - {IMAGE, VISIBLE})
    if IMAGE not in columns or unknown:
        raise UserError(
            f"columns {', '.join(map(str, columns)) or 'none'} were sent; send `{IMAGE}` and optionally `{VISIBLE}`"
        )
    cells = columns[IMAGE]
    encoded = len(cells) > 0 and isinstance(cells[0], str)
    if encoded:
        parts = [
            _picture(cell, f"image {number}", image_size, num_channels) for number, cell in enumerate(cells, start=1)
        ]
        images_BHWC = np.stack(parts)
    else:
        images_BHWC = _pixels(cells, (*image_size, num_channels))
    visible = [
        _mask(cell, f"mask {number}", image_size) for number, cell in enumerate(columns.get(VISIBLE, []), start=1)
    ]
    if visible and len(visible) != len(images_BHWC):
        raise UserError(f"{len(visible)} masks were sent for {len(images_BHWC)} images; send one per image, or null")
    return Asked(images_BHWC, visible or [None] * len(images_BHWC), encoded)


def answer(asked: Asked, completed_BHWC: NDArray[np.uint8], refused_B: NDArray[np.bool_] | None = None) -> Any:
    """What is returned: arrays for arrays, records of picture files for picture files.

    With a filter (`refused_B`, True = refused), records have `refused` next to `image`, one of them null; of arrays,
    refused ones make the answer a list, with a record in their place.
    """
    if refused_B is None:
        return _records(completed_BHWC) if asked.encoded else completed_BHWC
    reasons = [REFUSAL if refused else None for refused in refused_B]
    if asked.encoded:
        records = _records(completed_BHWC)
        records.loc[refused_B, IMAGE] = None
        records[REFUSED] = pd.Series(reasons, dtype=object)
        return records
    if not refused_B.any():
        return completed_BHWC
    return [one if reason is None else {REFUSED: reason} for one, reason in zip(completed_BHWC, reasons, strict=True)]


def _records(completed_BHWC: NDArray[np.uint8]) -> pd.DataFrame:
    return pd.DataFrame({IMAGE: pd.Series([encode(image_HWC) for image_HWC in completed_BHWC], dtype=object)})


def encode(image_HWC: NDArray[np.uint8]) -> str:
    """A PNG in base64."""
    buffer = io.BytesIO()
    picture_of(image_HWC).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _columns(data: Any) -> dict[str, Any]:
    """The columns of what was sent, in any of MLflow's forms."""
    if isinstance(data, pd.DataFrame):
        return {str(name): data[name].tolist() for name in data.columns}
    if isinstance(data, Mapping):
        return {str(name): _as_sequence(cells) for name, cells in data.items()}
    if isinstance(data, list) and data and all(isinstance(record, Mapping) for record in data):
        names = {name: None for record in data for name in record}  # in order
        return {str(name): [_plain(record.get(name)) for record in data] for name in names}
    return {IMAGE: _as_sequence(data)}


def _as_sequence(cells: Any) -> Any:
    """An array of numbers as it is, everything else as a list."""
    array = cells if isinstance(cells, np.ndarray) else None
    if array is not None and array.ndim > 0 and array.dtype.kind in "buif":
        return array
    listed = array.tolist() if array is not None else cells
    return listed if isinstance(listed, list) else [listed]


def _plain(cell: Any) -> Any:
    return cell.item() if isinstance(cell, np.ndarray) and cell.ndim == 0 else cell


# --- numbers ---


def _pixels(cells: Any, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    array = _numbers(cells, "the images", f"numbers (images, {', '.join(map(str, shape))}) or base64")
    if array.ndim != 4 or array.shape[1:] != shape:  # noqa: PLR2004  B, H, W, C
        raise UserError(f"images of shape ({_shape(array)}) were sent; the model takes (images, {_shape(shape)})")
    if not _is_whole(array, 255):
        raise UserError("the images hold numbers that are not pixels; send whole numbers from 0 to 255")
    return array.astype(np.uint8)


def _numbers(cells: Any, what: str, wanted: str) -> NDArray[Any]:
    try:
        array = np.asarray(cells)
    except ValueError:
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "buif":
        raise UserError(f"{what} differ in size or do not hold numbers only; send {wanted}")
    return array


def _is_whole(array: NDArray[Any], most: int) -> bool:
    return bool(array.dtype == np.uint8 and most == 255) or bool(  # noqa: PLR2004
        ((array >= 0) & (array <= most) & (array == np.floor(array))).all()
    )


def _shape(array: Any) -> str:
    return ", ".join(map(str, array.shape if isinstance(array, np.ndarray) else array))


# --- picture files ---


def _picture(cell: Any, name: str, image_size: tuple[int, int], num_channels: int) -> NDArray[np.uint8]:
    picture = _open(cell, name, image_size)
    found = len(picture.getbands())
    if found != num_channels:
        kinds = {1: "grey", 3: "colour"}
        raise UserError(f"{name}: is a {kinds[found]} picture; send a {kinds[num_channels]} one")
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[..., None] if num_channels == 1 else pixels


def _open(cell: Any, name: str, image_size: tuple[int, int]) -> Image.Image:
    """The picture in base64, its size checked before it is unpacked: a small file may unpack to gigabytes."""
    encoded = _from_base64(cell, name, _BYTES_PER_PIXEL * image_size[0] * image_size[1] + _BYTES_OF_METADATA)
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as header:
            size = header.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError(f"{name}: is neither PNG nor JPEG; send one of these in base64") from None
    if size in (image_size, image_size[::-1]):  # upright, or rotated by its EXIF
        try:
            picture = open_image(encoded, name=name)
        except UserError:
            raise UserError(f"{name}: the picture is damaged; send it again") from None
        size = picture.size
    if size != image_size[::-1]:
        height, width = image_size
        raise UserError(f"{name}: is {size[1]} x {size[0]} pixels (height x width); the model takes {height} x {width}")
    return picture


def _from_base64(cell: Any, name: str, most: int) -> bytes:
    if not isinstance(cell, str):
        raise UserError(f"{name}: is not text; send all images as PNG in base64, or all as numbers")
    text = cell.partition("base64,")[2] if cell.startswith("data:") else cell
    if len(text) * 3 // 4 > most:
        raise UserError(
            f"{name}: has more than {most} bytes, more than any picture of the model's size; send a smaller file"
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UserError(f"{name}: is not base64; encode the bytes of the file") from None


# --- masks ---


def _mask(cell: Any, name: str, image_size: tuple[int, int]) -> NDArray[np.bool_] | None:
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):  # pandas' null
        return None
    if isinstance(cell, str):
        kept: NDArray[np.bool_] = np.asarray(_open(cell, name, image_size).convert("L")) >= _WHITE
    else:
        numbers = _numbers(cell, name, "numbers 0 and 1, or a picture in base64")
        if numbers.shape != image_size or not _is_whole(numbers, 1):
            raise UserError(f"{name}: must be ({_shape(image_size)}) numbers 0 (to be filled) and 1 (kept)")
        kept = numbers.astype(bool)
    if not kept.any() or kept.all():
        what = "hides nothing" if kept.all() else "keeps nothing"
        raise UserError(f"{name}: {what}; white (1) is kept, black (0) is filled; send a mask with both")
    return kept
