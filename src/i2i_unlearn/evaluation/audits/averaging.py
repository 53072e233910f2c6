"""What a model gives for each image, averaged over random draws where it draws at random.

Shape letters: B batch, N images.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from i2i_unlearn.evaluation.audits.base import AuditInputs, ImageSet
from i2i_unlearn.evaluation.metrics.bootstrap import Floats
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.progress import Advance

Look = Callable[[slice, Tensor, Tensor, torch.Generator], Tensor]
"""(rows, images_BCHW, visible_BHW, generator) -> numbers (B, ...) on the CPU."""


@torch.inference_mode()
def averaged(inputs: AuditInputs, images: ImageSet, look: Look, advance: Advance, *purpose: str) -> tuple[Floats, int]:
    """Means of what `look` gives (N, ...), and over how many draws: `num_completions`, or 1 where chance has no part.

    Draw k of every model has the same random numbers.

    Raises:
        UserError: a number is not finite.
    """
    num = inputs.settings.num_completions
    generators = [inputs.generator(*purpose, draw) for draw in range(num)]
    parts, start = [], 0
    for images_BCHW, visible_BHW in images.batches(inputs.batch_size, inputs.device):
        rows = slice(start, start + len(images_BCHW))
        draws = [look(rows, images_BCHW, visible_BHW, generators[0])]
        for number in range(1, num):
            draws.append(look(rows, images_BCHW, visible_BHW, generators[number]))
            if start == 0 and number == 1 and torch.equal(draws[0], draws[1]):
                num, draws = 1, draws[:1]  # other random numbers, same result: a family without chance
                break
        parts.append(torch.stack(draws).double().mean(0))
        start = rows.stop
        advance(len(images_BCHW), purpose[0])
    found = torch.cat(parts).numpy()
    if not np.isfinite(found).all():
        raise UserError(
            f"audit {purpose[0]}: a model gives numbers that are not finite; its weights are broken, make it again"
        )
    return found, num
