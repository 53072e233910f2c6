"""The frozen front of an encoder, such as a tokenizer, computed once for every image instead of at every step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.models.base import HasFront
from i2i_unlearn.operators import Operator
from i2i_unlearn.pixels import to_float
from i2i_unlearn.sampling import Pool
from i2i_unlearn.target_cache import in_chunks


@torch.no_grad()
def fixed_fronts(model: Any, operator: Operator, pools: Mapping[str, Pool]) -> dict[str, Tensor]:
    """What the frozen part of E gives for every image of every set; {} where there is none or T is not fixed.

    For runs that train E alone: the part must stay as it is.
    """
    if not operator.fixed or not isinstance(model, HasFront):
        return {}

    def compute(images: Tensor) -> tuple[Tensor, ...]:
        num, _, height, width = images.shape
        visible_1HW = operator.draw(1, height, width, torch.Generator()).to(images.device)  # fixed: nothing is drawn
        return (model.front(to_float(images), visible_1HW.expand(num, -1, -1)),)

    return {name: in_chunks(pool.images_BCHW, compute)[0] for name, pool in pools.items()}
