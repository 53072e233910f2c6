"""Sizes of a network, from the names and shapes of its tensors."""

import math
import re
from collections.abc import Mapping

from torch import Tensor

from i2i_unlearn.models.published.reading import Content
from i2i_unlearn.support.errors import UserError


def depth(tensors: Mapping[str, Tensor], stack: str) -> int:
    """Number of blocks `stack`.0, `stack`.1, ...: one more than the highest."""
    pattern = re.compile(rf"{re.escape(stack)}\.(\d+)\.")
    return 1 + max((int(found[1]) for found in map(pattern.match, tensors) if found), default=-1)


def shape(content: Content, name: str, num_axes: int) -> tuple[int, ...]:
    """The shape of a tensor by which the architecture is told.

    Raises:
        UserError: there is no such tensor, or it has another number of axes.
    """
    tensor = content.tensors.get(name)
    if tensor is None:
        raise UserError(f"{content.file_of(name)}: {name} is missing; give the file as it was published")
    if tensor.ndim != num_axes:
        raise UserError(
            f"{content.file_of(name)}: {name} has {tensor.ndim} axes where {num_axes} are wanted; "
            "give the file as it was published"
        )
    return tuple(tensor.shape)


def side(content: Content, name: str, num_tokens: int) -> int:
    """Side of the square of `num_tokens` tokens, which the tensor `name` has.

    Raises:
        UserError: they do not form a square.
    """
    root = math.isqrt(max(num_tokens, 0))
    if root * root != num_tokens or not num_tokens:
        raise UserError(
            f"{content.path}: {name} has {num_tokens} patches, which do not form a square; give another file"
        )
    return root
