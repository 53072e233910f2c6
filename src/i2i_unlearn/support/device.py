"""Where and with how many threads torch computes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from i2i_unlearn.support.errors import UserError


@contextmanager
def num_threads(count: int) -> Iterator[None]:
    """Use `count` torch threads inside the block; the count is part of the result."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pick_device(name: str) -> torch.device:
    """The device called auto, cpu or cuda.

    Raises:
        UserError: cuda is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device='cuda', but torch sees no GPU; set device to cpu or auto, or install a CUDA build of torch"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
