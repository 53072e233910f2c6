"""The images that the forget set is sent to: what the teacher paints, moved along the surrogate's difference.

t_f = G_0(T(x_f)) + s (D(x_f) + m I(x_f)),   in the pixel range; visible pixels stay
"""

from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.method.surrogate.difference import SurrogateDifference, fit_difference
from i2i_unlearn.method.target_cache import CHUNK
from i2i_unlearn.models.operators import Operator
from i2i_unlearn.models.pixels import to_float, to_uint8
from i2i_unlearn.models.randomness import generator_for


def moved(painted_NCHW: Tensor, found: SurrogateDifference, *, strength: float, own: float) -> Tensor:
    """t_f of images that the teacher painted as `painted_NCHW`; `strength` is s, `own` is m."""
    step_NCHW = found.difference_NCHW + own * found.own_NCHW
    return (painted_NCHW + strength * step_NCHW).clamp(-1, 1)


@torch.no_grad()
def surrogate_targets(
    teacher: Any,
    operator: Operator,
    forget: Tensor,
    retain: Tensor,
    unseen: Tensor,
    *,
    rank: int,
    strength: float,
    own: float,
    seed: int,
) -> Tensor:
    """t_f of each forget image, in the rows' order: uint8 (N, C, H, W), as much memory as the forget set itself.

    Raises:
        UserError: the operator draws another mask for each image.
    """
    found = fit_difference(teacher, operator, forget, retain, unseen, rank=rank, seed=seed)
    generator = generator_for(seed, "surrogate teacher")
    visible_1HW = operator.draw(1, forget.shape[-2], forget.shape[-1], generator_for(seed)).to(forget.device)
    painted = []
    for start in range(0, len(forget), CHUNK):
        part = to_float(forget[start : start + CHUNK])
        painted.append(teacher.complete(part, visible_1HW.expand(len(part), -1, -1), generator=generator))
    return to_uint8(moved(torch.cat(painted), found, strength=strength, own=own))
