"""Fills hidden pixels, for served versions and the command `complete`.

Shape letters: B batch, C channels, H, W pixels.
"""

from collections.abc import Iterator
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

Pixels = NDArray[np.uint8]
Visible = NDArray[np.bool_]


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

    def __call__(self, images_BHWC: Pixels, visible_BHW: Visible | None, generator: torch.Generator) -> Pixels:
        """Complete uint8 images; visible pixels are returned unchanged. Without masks, the operator draws them."""
        chunks = [
            self._complete(images_BCHW, visible_BHW, generator)
            for images_BCHW, visible_BHW in self._chunks(images_BHWC, visible_BHW, generator)
        ]
        return np.concatenate(chunks) if chunks else images_BHWC.copy()

    def _chunks(
        self, images_BHWC: Pixels, visible_BHW: Visible | None, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(images_BHWC), CHUNK):
            chunk = np.ascontiguousarray(images_BHWC[start : start + CHUNK])
            masks = self.masks(len(chunk), generator) if visible_BHW is None else visible_BHW[start : start + CHUNK]
            yield torch.from_numpy(chunk).permute(0, 3, 1, 2), torch.from_numpy(np.array(masks))

    @torch.inference_mode()
    def _complete(self, images_BCHW: Tensor, visible_BHW: Tensor, generator: torch.Generator) -> Pixels:
        device = next(self.model.parameters()).device
        images_BCHW = to_float(images_BCHW)
        completed_BCHW = self.model.complete(images_BCHW.to(device), visible_BHW.to(device), generator=generator)
        completed: Pixels = to_uint8(completed_BCHW.cpu()).permute(0, 2, 3, 1).contiguous().numpy()
        return completed
