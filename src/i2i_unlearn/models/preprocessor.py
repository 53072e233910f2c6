"""preprocessor_config.json of a model directory: how a picture becomes what the model was trained on.

    seen = (pixel * rescale_factor - image_mean) / image_std        each step where its `do_` key is true

All of it counts or is refused: a model that sees other pixels than it was trained on completes, forgets and is judged
wrongly, without an error.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from i2i_unlearn.support.errors import UserError

FILE = "preprocessor_config.json"
OWN_CROP = "i2i_unlearn_crop"
"""Our key: the middle of a picture is cut out before it is scaled (data/images/decoding.py), in one filter."""
_KIND = re.compile(r"(ViT|DeiT|Beit|CLIP|Bit|Siglip)(ImageProcessor|FeatureExtractor)(Fast|Pil)?")
_BY_SHORTEST_EDGE = ("CLIP", "Bit")
"""Processors that take `size: 224` for the shortest edge; for the others it is height and width."""
_CROPPING = ("CLIP", "Bit", "DeiT")
"""Those that crop where the file does not say."""
_STEPS = ("do_resize", "do_rescale", "do_normalize", "do_center_crop")
"""transformers' switches; all but the crop are on where the file does not say."""
_HARMLESS = {"do_convert_rgb", "do_convert_grayscale", "do_reduce_labels", "do_pad"}
"""Switches without effect on one picture of a model's channels; `do_pad` only fills up a batch of unequal sizes."""
_TO_BYTE = 255.0
BILINEAR, BICUBIC = 2, 3
"""Pillow's numbers."""
NUM_FILTERS = 6


@dataclass(frozen=True)
class Fit:
    """How a picture of another size is made to fit, by data/images/decoding.py. Sizes: (height, width) in pixels."""

    resample: int
    """Pillow's number of the filter."""
    size: tuple[int, int] | None = None
    """Scaled to exactly this: a wide picture is squashed."""
    shortest_edge: int | None = None
    """Scaled until the shorter side has this; the shape stays."""
    crop: bool = False
    """Then the middle is cut out."""


@dataclass(frozen=True)
class Preprocessor:
    """What a file says. `mean` and `deviation` per channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    fit: Fit | None
    """None = the shorter side scaled and the middle cut out, as this program does by itself."""
    content: Mapping[str, Any] = field(default_factory=dict)
    """The file, to be written again as it was."""


def made_here(mean: tuple[float, ...], deviation: tuple[float, ...], image_size: tuple[int, int]) -> Preprocessor:
    """The file of a model that was trained on this program's own pixels; transformers reads it as the same, nearly.

    A picture whose sides are not whole multiples of the model's may be cut at another fraction of a pixel there.
    """
    content: dict[str, Any] = {
        **{"do_center_crop": True, "do_normalize": True, "do_rescale": True, "do_resize": True},
        "crop_size": {"height": image_size[0], "width": image_size[1]},
        "do_convert_rgb": len(mean) == 3,  # noqa: PLR2004
        OWN_CROP: True,
        "image_mean": list(mean),
        "image_processor_type": "CLIPImageProcessor",
        "image_std": list(deviation),
        "resample": BICUBIC,
        "rescale_factor": 1 / _TO_BYTE,
        "size": {"shortest_edge": min(image_size)},
    }
    return Preprocessor(mean, deviation, None, content)


def read_preprocessor(folder: str | Path, *, num_channels: int, image_size: tuple[int, int]) -> Preprocessor:
    """Read the file of a model directory.

    Raises:
        UserError: there is none, it cannot be read, or it says something that this program does not do.
    """
    path = Path(folder) / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; it holds the mean and deviation the model was trained with") from None
    except ValueError:  # not JSON, not UTF-8
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path}: image_mean and image_std cannot be read, it holds no keys; fetch the directory again")
    steps = _steps(content, path)
    factor = _number(content, "rescale_factor", 1 / _TO_BYTE, path) if steps["do_rescale"] else 1.0
    # The file's numbers are of pixels times factor, ours of pixels in [0, 1].
    scale = factor * _TO_BYTE
    mean, deviation = _normalisation(content, num_channels, path) if steps["do_normalize"] else ((0.0,), (1.0,))
    return Preprocessor(
        _each(mean, num_channels, scale), _each(deviation, num_channels, scale), _fit(content, steps, image_size, path),
        content,
    )  # fmt: skip


def read_fixed(
    folder: str | Path, *, num_channels: int, image_size: tuple[int, int], mean: float, deviation: float
) -> Preprocessor | None:
    """The file of a family whose pixels have one range; None where the directory has no file.

    Raises:
        UserError: it asks for another range.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    found = read_preprocessor(folder, num_channels=num_channels, image_size=image_size)
    for name, values, wanted in (("image_mean", found.mean, mean), ("image_std", found.deviation, deviation)):
        if any(not math.isclose(value, wanted, abs_tol=1e-6) for value in values):
            raise UserError(
                f"{path}: do_normalize, do_rescale, {name} and so on give pixels by {name}={list(values)} of [0, 1], "
                f"but this family takes {wanted:g}; correct the file, or remove it if the model was trained so"
            )
    return found


def _steps(content: Mapping[str, Any], path: Path) -> dict[str, bool]:
    """The switches, where this program does what they ask for."""
    kind = _kind(content)
    if not _KIND.fullmatch(kind):
        raise UserError(
            f"{path}: image_processor_type={kind!r} is not known; known are ViT, DeiT, Beit, CLIP, Bit and Siglip: "
            "write the one that prepares images alike"
        )
    for name, value in content.items():
        if name in _STEPS and not isinstance(value, bool):
            raise UserError(f"{path}: {name}={value!r} must be true or false; correct it")
        if name.startswith("do_") and name not in {*_STEPS, *_HARMLESS} and value:
            raise UserError(f"{path}: {name}={value!r} is not supported; prepare the images so, and write false")
    if content.get("offset") or content.get("rescale_offset"):
        raise UserError(f"{path}: pixels with an offset are not supported; say the same by image_mean and image_std")
    return {name: content.get(name, name != "do_center_crop" or kind.startswith(_CROPPING)) for name in _STEPS}


def _kind(content: Mapping[str, Any]) -> str:
    return str(content.get("image_processor_type", content.get("feature_extractor_type", "ViTImageProcessor")))


def _number(content: Mapping[str, Any], name: str, otherwise: float, path: Path) -> float:
    value = content.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise UserError(f"{path}: {name}={value!r} must be a number above 0; correct it")
    return float(value)


def _normalisation(
    content: Mapping[str, Any], num_channels: int, path: Path
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    try:
        mean, deviation = (_numbers(content[key]) for key in ("image_mean", "image_std"))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError(f"{path}: image_mean and image_std cannot be read; fetch the directory again") from None
    for name, values in (("image_mean", mean), ("image_std", deviation)):
        if isinstance(content[name], list) and len(values) != num_channels:
            raise UserError(
                f"{path}: {name} has {len(values)} values for a model of {num_channels} channels; give one per channel"
            )
    if not all(math.isfinite(value) for value in (*mean, *deviation)) or min(deviation) <= 0:
        raise UserError(f"{path}: image_mean and image_std must be finite and image_std above 0; correct them")
    return mean, deviation


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(float(item) for item in (value if isinstance(value, list) else [value]))


def _each(values: tuple[float, ...], num_channels: int, scale: float) -> tuple[float, ...]:
    values = values * num_channels if len(values) == 1 else values
    return values if scale == 1 else tuple(value / scale for value in values)


def _fit(
    content: Mapping[str, Any], steps: Mapping[str, bool], image_size: tuple[int, int], path: Path
) -> Fit | None:  # fmt: skip
    if content.get(OWN_CROP) is True:
        return None
    kind = _kind(content)
    usual = BILINEAR if kind.startswith("ViT") else BICUBIC
    resample = content.get("resample", usual)
    if type(resample) is not int or resample not in range(NUM_FILTERS):
        raise UserError(f"{path}: resample={resample!r} is no filter of Pillow (0 to 5); correct it")
    size, edge = (None, None)
    if steps["do_resize"]:
        size, edge = _size(content, image_size, path, by_edge=kind.startswith(_BY_SHORTEST_EDGE))
    crop = steps["do_center_crop"]
    cropped = _sides(content.get("crop_size", {"height": image_size[0], "width": image_size[1]}))
    if crop and cropped != image_size:
        raise UserError(_differs(path, "crop_size", content.get("crop_size"), image_size))
    if crop and (edge if edge is not None else min(size or image_size)) < max(image_size):
        raise UserError(_differs(path, "size", content.get("size"), image_size))
    if not crop and size is not None and size != image_size:
        raise UserError(_differs(path, "size", content.get("size"), image_size))
    if not crop and edge is not None:
        raise UserError(
            f"{path}: size={content.get('size')!r} without do_center_crop gives pictures of any shape, but the model "
            f"takes {image_size[0]} x {image_size[1]}; write do_center_crop: true, or height and width in size"
        )
    return Fit(resample, size, edge, crop)


def _size(
    content: Mapping[str, Any], image_size: tuple[int, int], path: Path, *, by_edge: bool
) -> tuple[tuple[int, int] | None, int | None]:
    """Height and width, or the shortest edge."""
    value = content.get("size", {"height": image_size[0], "width": image_size[1]})
    edge = value if by_edge and _is_side(value) else value.get("shortest_edge") if isinstance(value, dict) else None
    if _is_side(edge) and not (isinstance(value, dict) and len(value) > 1):
        return None, edge
    sides = _sides(value)
    if sides is None:
        raise UserError(f"{path}: size={value!r} must hold height and width, or shortest_edge, alone; correct it")
    return sides, None


def _sides(value: Any) -> tuple[int, int] | None:
    if _is_side(value):
        return value, value
    if isinstance(value, dict) and set(value) == {"height", "width"} and all(map(_is_side, value.values())):
        return value["height"], value["width"]
    return None


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _differs(path: Path, name: str, value: Any, image_size: tuple[int, int]) -> str:
    return (
        f"{path}: {name}={value!r} does not give the {image_size[0]} x {image_size[1]} pixels that the model takes "
        "(config.json); correct one of them"
    )
