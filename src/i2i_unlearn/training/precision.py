"""Numbers that are too short to train with: refused in weights, told of where gradients are summed.

bf16 has eight binary digits: 1 + .001 is 1, and a sum of ones stops at 256.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from i2i_unlearn.support.errors import UserError

WHERE_ONES_STOP = 256
"""256 + 1 = 256 in bf16. On a CPU each thread has a sum of its own."""
_NORMS = (nn.LayerNorm,)
"""torch sums the gradients of group norms in float32."""


def check_precision(parameters: Sequence[tuple[str, nn.Parameter]]) -> None:
    """Refuse to train weights in which most updates are rounded away.

    Raises:
        UserError: a trained weight has less than 32 bits.
    """
    short = [(name, one.dtype) for name, one in parameters if one.dtype.itemsize < torch.float32.itemsize]
    if short:
        name, kind = short[0]
        raise UserError(
            f"{len(short)} of {len(parameters)} trained weights are {str(kind).removeprefix('torch.')}, first {name}: "
            "small updates vanish in them (1 + .001 is 1 in bf16); load them as float32 (model.float()) and set "
            "precision: bf16, which computes in bf16 and keeps the weights"
        )


@contextmanager
def short_sums_told(student: Any) -> Iterator[None]:
    """Warn, at the end of the block, of norms whose gradients were summed in bf16 over too many places on a CPU."""
    lossy: dict[str, int] = {}
    most = WHERE_ONES_STOP * torch.get_num_threads()

    def look(place: str, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        (features, *_), weight = inputs, layer.weight
        if not isinstance(weight, Tensor) or not weight.requires_grad or features.device.type != "cpu":
            return
        if features.dtype == torch.bfloat16 and (num := features.numel() // weight.numel()) > most:
            lossy[place] = num

    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs, place=name: look(place, layer, inputs))
        for name, layer in student.named_modules()
        if isinstance(layer, _NORMS)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    if lossy:
        place, num = max(lossy.items(), key=lambda item: item[1])
        print(
            f"warning: precision: bf16 on a CPU loses digits of the gradients of {len(lossy)} normalisation layers: "
            f"torch sums them in bf16, where a sum of ones stops at {most} ({torch.get_num_threads()} threads), and "
            f"{place} sums {num}; set precision: fp32, or train on a GPU",
            file=sys.stderr,
        )
