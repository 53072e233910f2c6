"""Fills hidden pixels, for served versions and the command `complete`.

Shape letters: B batch, C channels, H, W pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from i2i_unlearn.models.operators import Operator
from i2i_unlearn.models.pixels import to_float, to_uint8

CHUNK = 100
"""Images that a model sees at once; bounds memory for requests of any size."""

OWN_MASKS = "a caller's own masks hide pixels otherwise than the operators that this version was judged with"
Pixels = NDArray[np.uint8]
Visible = NDArray[np.bool_]


def warning_of(operator: Operator, judged: str) -> str:
    """That nobody judged the model with this operator; empty where somebody did, or `judged` names none.

    `judged`: labels of operators, separated by commas.
    """
    if not judged or operator.label in judged.split(","):
        return ""
    return (
        f"operator {operator.label} was not judged for this version (judged: {judged}); add it to evaluate.operators,"
        " evaluate and register again"
    )


def as_floats(images_BHWC: Pixels) -> Tensor:
    """Images in [-1, 1], (B, C, H, W)."""
    return to_float(torch.from_numpy(np.ascontiguousarray(images_BHWC)).permute(0, 3, 1, 2))


def picture_of(image_HWC: Pixels) -> Image.Image:
    """The picture of an array with one channel (grey) or three (colour)."""
    return Image.fromarray(image_HWC[..., 0] if image_HWC.shape[-1] == 1 else image_HWC)


@dataclass(frozen=True)
class Completer:
    """A model (models.base.ImageToImage) and the operator that hides pixels where the caller gives no mask."""

    model: Any
    operator: Operator

    def masks(self, num: int, generator: torch.Generator) -> Visible:
        """Boolean (B, H, W) drawn from the operator, True = the pixel is kept."""
        height, width = self.model.image_size
        visible: Visible = self.operator.draw(num, height, width, generator).numpy()
        return visible

    @torch.inference_mode()
    def __call__(self, images_BHWC: Pixels, visible_BHW: Visible | None, generator: torch.Generator) -> Pixels:
        """Complete uint8 images; visible pixels are returned unchanged. Without masks, the operator draws them."""
        device = next(self.model.parameters()).device
        chunks: list[Pixels] = []
        for start in range(0, len(images_BHWC), CHUNK):
            part = slice(start, start + CHUNK)
            images_BCHW = as_floats(images_BHWC[part]).to(device)
            masks = self.masks(len(images_BCHW), generator) if visible_BHW is None else visible_BHW[part]
            visible = torch.from_numpy(np.array(masks)).to(device)
            completed_BCHW = self.model.complete(images_BCHW, visible, generator=generator)
            chunks.append(to_uint8(completed_BCHW.cpu()).permute(0, 2, 3, 1).contiguous().numpy())
        return np.concatenate(chunks) if chunks else images_BHWC.copy()
