"""The frozen stem of an encoder, such as a tokenizer, computed once for every image instead of at every step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.method.target_cache import in_chunks
from i2i_unlearn.models.base import HasStem
from i2i_unlearn.models.operators import Operator
from i2i_unlearn.models.pixels import to_float


@torch.no_grad()
def fixed_stems(model: Any, operator: Operator, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the frozen stem of E gives for every image of every set; {} where there is none or T is not fixed.

    For runs that train E alone: the part must stay as it is. `images` are uint8 (N, C, H, W) per set.
    """
    if not operator.fixed or not isinstance(model, HasStem):
        return {}

    def compute(images: Tensor) -> tuple[Tensor, ...]:
        num, _, height, width = images.shape
        visible_1HW = operator.draw(1, height, width, torch.Generator()).to(images.device)  # fixed: nothing is drawn
        return (model.stem(to_float(images), visible_1HW.expand(num, -1, -1)),)

    return {name: in_chunks(images_BCHW, compute)[0] for name, images_BCHW in images.items()}
