"""The processes that share a run, usually one per GPU. Each takes its part of every batch, and gradients are averaged.

Parts are equal, so the mean of their means is the mean of the batch, and the result is that of one process up to the
order of float additions. `torchrun` starts them and tells each its rank (training/launch.py). A run of one process
computes the same bits as if this module did not exist.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from i2i_unlearn.support.errors import UserError

TIMEOUT = timedelta(minutes=30)  # the others wait this long for one that reads its images or writes a checkpoint


@dataclass(frozen=True)
class Processes:
    """Who takes part; `rank` is this one."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """The one that writes files and shows progress."""
        return self.rank == 0

    @property
    def stream(self) -> tuple[int, ...]:
        """Added to the purpose of what each process draws for itself; nothing for the first, as if it were alone."""
        return (self.rank,) if self.rank else ()

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype and device, whatever their shapes, by their means over the processes."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def check_same(self, what: str, value: int, remedy: str) -> None:
        """Stop all processes where they see different values.

        Raises:
            UserError: they do.
        """
        if self.size == 1:
            return
        values: list[int] = [0] * self.size
        distributed.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise UserError(f"the processes differ in {what}: {', '.join(map(str, values))}; {remedy}")


ALONE = Processes()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, each with a GPU of its own where `device` is not cpu."""
    use_gpu = device != "cpu" and torch.cuda.is_available()
    if use_gpu:
        number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if number >= there:
            raise UserError(f"more processes than the {there} GPUs of this machine; lower num_processes or use the CPU")
        torch.cuda.set_device(number)
    distributed.init_process_group("nccl" if use_gpu else "gloo", timeout=TIMEOUT)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
