"""Shape of a completion: numbers of the pixels that a model paints, which tell how it paints and not what it remembers.

METHOD section 13. On the hidden region H of one image, pixels in [0, 1]:

    contrast    mean over channels of the standard deviation of the completion over H
    roughness   mean over channels of |y_i - y_j| over horizontally and vertically neighbouring pixels of H
    edge        || mean of the completion over H - mean of the original over the rim ||, Euclidean over channels
    rim         visible pixels at most `RIM` rows and columns away from a pixel of H

A number that does not exist is NaN: the roughness of a region without two neighbouring pixels, the edge of one without
a rim.
Shape letters: B batch, C channels, H, W pixels.
"""

from torch import Tensor
from torch.nn import functional

RIM = 2
SHAPES = ("contrast", "roughness", "edge")


def shapes_of(completed_BCHW: Tensor, images_BCHW: Tensor, visible_BHW: Tensor) -> dict[str, Tensor]:
    """Contrast, roughness and edge (B,) of images in [-1, 1]. Every image must hide a pixel."""
    hidden_B1HW = ~visible_BHW.unsqueeze(1)
    output_BCHW = (completed_BCHW.float() + 1) / 2
    mean_BC = _mean(output_BCHW, hidden_B1HW)
    variance_BC = _mean((output_BCHW - mean_BC[..., None, None]).square(), hidden_B1HW)
    return {
        "contrast": variance_BC.sqrt().mean(1),
        "roughness": _roughness(output_BCHW, hidden_B1HW),
        "edge": (mean_BC - rim_mean(images_BCHW, visible_BHW)).norm(dim=1),
    }


def rim_mean(images_BCHW: Tensor, visible_BHW: Tensor) -> Tensor:
    """Mean (B, C) of the visible pixels around the hidden region, in [0, 1]; NaN where there is none."""
    hidden_B1HW = ~visible_BHW.unsqueeze(1)
    near_B1HW = functional.max_pool2d(hidden_B1HW.float(), 2 * RIM + 1, stride=1, padding=RIM) > 0
    return _mean((images_BCHW.float() + 1) / 2, near_B1HW & ~hidden_B1HW)


def _mean(values_BCHW: Tensor, where_B1HW: Tensor) -> Tensor:
    """Mean over the pixels of a mask (B, C); NaN where the mask is empty."""
    return (values_BCHW * where_B1HW).sum((2, 3)) / where_B1HW.sum((2, 3))


def _roughness(output_BCHW: Tensor, hidden_B1HW: Tensor) -> Tensor:
    totals, pairs = [], []
    for axis in (2, 3):
        size = output_BCHW.shape[axis] - 1
        first, second = (hidden_B1HW.narrow(axis, start, size) for start in (0, 1))
        both = first & second
        step = (output_BCHW.narrow(axis, 1, size) - output_BCHW.narrow(axis, 0, size)).abs()
        totals.append((step * both).sum((2, 3)))
        pairs.append(both.sum((2, 3)))
    return ((totals[0] + totals[1]) / (pairs[0] + pairs[1])).mean(1)
