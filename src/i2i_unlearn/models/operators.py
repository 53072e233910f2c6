"""Operators T: what the generator is asked to undo. Each hides part of an image.

An operator draws boolean masks named `visible`: True = the pixel is kept. Masks are drawn from a passed generator, once
per image, and the drawn mask (not the operator) is given to student and teacher alike.
Shape letters: B batch, C channels, H, W pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from i2i_unlearn.support.errors import UserError

HIDDEN_VALUE = 0.0  # mid-grey in [-1, 1]


def hide(images_BCHW: Tensor, visible_BHW: Tensor) -> Tensor:
    """T(x): hidden pixels become mid-grey. T(T(x)) = T(x)."""
    return images_BCHW.masked_fill(~visible_BHW.unsqueeze(1), HIDDEN_VALUE)


@dataclass(frozen=True)
class Operator:
    """A distribution over masks. `keep_fraction` is visible area / total area, up to rounding to whole pixels."""

    name: str
    keep_fraction: float
    patch_size: int
    """Pixels; grid of `random_patches`, no meaning for the others."""

    @property
    def label(self) -> str:
        """NAME:KEEP_FRACTION, as settings and reports write it; `read_operator` reads it."""
        return f"{self.name}:{self.keep_fraction:g}"

    @property
    def fixed(self) -> bool:
        """True where every draw gives the same mask, so that teacher targets can be cached."""
        return self.name in _FIXED

    def draw(self, num: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Boolean (num, height, width), True where the pixel is kept. Sizes in pixels.

        Fixed operators return one mask expanded without copying (stride 0).
        """
        if self.name in _FIXED:
            return _FIXED[self.name](height, width, self.keep_fraction).expand(num, height, width)
        if self.name == "random_patches":
            return _random_patches(num, height, width, self.keep_fraction, self.patch_size, generator)
        return torch.stack([_free_form(height, width, self.keep_fraction, generator) for _ in range(num)])


def make_operator(name: str, keep_fraction: float, patch_size: int) -> Operator:
    """The operator called `name`.

    Raises:
        UserError: there is no such operator.
    """
    if name not in OPERATORS:
        raise UserError(f"operator={name!r} is not known; choose one of: {', '.join(OPERATORS)}")
    return Operator(name, keep_fraction, patch_size)


def read_operator(label: str, patch_size: int) -> Operator:
    """The operator that `label` names: NAME:KEEP_FRACTION.

    Raises:
        UserError: it has another form, or there is no such operator.
    """
    name, _, text = label.partition(":")
    try:
        keep_fraction = float(text)
    except ValueError:
        keep_fraction = math.nan
    if not 0 < keep_fraction < 1:
        raise UserError(
            f"operator {label!r}: write NAME:KEEP_FRACTION, the fraction between 0 and 1, for example center_hole:0.75"
        )
    return make_operator(name, keep_fraction, patch_size)


def _centre(height: int, width: int, side_fraction: float) -> Tensor:
    """True in a centred rectangle with `side_fraction` of each side, at least one pixel, and not all."""
    inside_HW = torch.zeros(height, width, dtype=torch.bool)
    rows = min(max(round(height * side_fraction), 1), height - 1)
    columns = min(max(round(width * side_fraction), 1), width - 1)
    top, left = (height - rows) // 2, (width - columns) // 2
    inside_HW[top : top + rows, left : left + columns] = True
    return inside_HW


def _center_hole(height: int, width: int, keep_fraction: float) -> Tensor:
    return ~_centre(height, width, math.sqrt(1 - keep_fraction))


def _outpaint(height: int, width: int, keep_fraction: float) -> Tensor:
    return _centre(height, width, math.sqrt(keep_fraction))


def _leading(size: int, keep_fraction: float) -> Tensor:
    kept = min(max(round(size * keep_fraction), 1), size - 1)
    return torch.arange(size) < kept


def _half_left(height: int, width: int, keep_fraction: float) -> Tensor:
    return _leading(width, keep_fraction).expand(height, width)


def _half_right(height: int, width: int, keep_fraction: float) -> Tensor:
    return _half_left(height, width, keep_fraction).flip(1)


def _half_up(height: int, width: int, keep_fraction: float) -> Tensor:
    return _leading(height, keep_fraction).unsqueeze(1).expand(height, width)


def _half_down(height: int, width: int, keep_fraction: float) -> Tensor:
    return _half_up(height, width, keep_fraction).flip(0)


def _random_patches(
    num: int, height: int, width: int, keep_fraction: float, patch_size: int, generator: torch.Generator
) -> Tensor:
    """Keep a random subset of the patches of a grid, the same number in each image (MAE, sec. 3)."""
    if height % patch_size or width % patch_size:
        raise UserError(
            f"operator_patch_size={patch_size} does not divide the image size {height}x{width}; "
            "choose a divisor of both sides"
        )
    rows, columns = height // patch_size, width // patch_size
    kept = min(max(round(rows * columns * keep_fraction), 1), rows * columns - 1)
    rank = torch.rand(num, rows * columns, generator=generator).argsort(1).argsort(1)
    visible = (rank < kept).view(num, rows, columns)
    return visible.repeat_interleave(patch_size, 1).repeat_interleave(patch_size, 2)


def _free_form(height: int, width: int, keep_fraction: float, generator: torch.Generator) -> Tensor:
    """Hide random brush strokes and boxes until the visible area is just above `keep_fraction` (Palette, sec. 4)."""
    hidden_HW = torch.zeros(height, width, dtype=torch.bool)
    most_hidden = int(height * width * (1 - keep_fraction))
    while True:
        shape = _stroke if torch.rand((), generator=generator) < 0.7 else _box  # noqa: PLR2004  mostly strokes
        grown_HW = hidden_HW | shape(height, width, generator)
        if grown_HW.sum() > most_hidden:
            if hidden_HW.any():
                return ~hidden_HW
            return ~_trim(grown_HW, most_hidden)
        hidden_HW = grown_HW


def _trim(hidden_HW: Tensor, most_hidden: int) -> Tensor:
    """The first `most_hidden` hidden pixels in reading order, at least one."""
    rank = hidden_HW.flatten().cumsum(0).view_as(hidden_HW)
    return hidden_HW & (rank <= max(most_hidden, 1))


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _box(height: int, width: int, generator: torch.Generator) -> Tensor:
    """A box with sides of 1/8 to 1/3 of the image's."""
    rows = max(1, int(height * _uniform(1 / 8, 1 / 3, generator)))
    columns = max(1, int(width * _uniform(1 / 8, 1 / 3, generator)))
    top, left = int(_uniform(0, height - rows, generator)), int(_uniform(0, width - columns, generator))
    hidden_HW = torch.zeros(height, width, dtype=torch.bool)
    hidden_HW[top : top + rows, left : left + columns] = True
    return hidden_HW


def _stroke(height: int, width: int, generator: torch.Generator) -> Tensor:
    """A round brush drawn along a line that bends three times."""
    side = min(height, width)
    radius = max(0.5, side * _uniform(1 / 40, 1 / 16, generator))
    y, x = _uniform(0, height, generator), _uniform(0, width, generator)
    angle = _uniform(0, 2 * math.pi, generator)
    grid_y, grid_x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    hidden_HW = torch.zeros(height, width, dtype=torch.bool)
    for _ in range(4):
        angle += _uniform(-1, 1, generator)
        for _ in range(max(1, side // 8)):
            hidden_HW |= (grid_y - y) ** 2 + (grid_x - x) ** 2 <= radius**2
            y, x = y + radius * math.sin(angle), x + radius * math.cos(angle)
    return hidden_HW


_FIXED: dict[str, Callable[[int, int, float], Tensor]] = {
    "center_hole": _center_hole,
    "outpaint": _outpaint,
    "half_left": _half_left,
    "half_right": _half_right,
    "half_up": _half_up,
    "half_down": _half_down,
}
OPERATORS = (*_FIXED, "random_patches", "free_form")
