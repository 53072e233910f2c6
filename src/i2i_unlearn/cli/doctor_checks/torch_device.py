"""Torch, and what it computes on."""

import os
from collections.abc import Iterator

from i2i_unlearn.cli.doctor_checks.base import Line

TARGET = "I2I_UNLEARN_IMAGE_TARGET"
"""Set in the image: which of its targets it is, cpu or gpu."""


def torch_device() -> Iterator[Line]:
    """Torch can be imported; a build for GPUs sees one."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: one of its libraries cannot be loaded
        yield Line("torch", "fail", f"cannot be imported: {error}", "reinstall the package into this Python")
        return
    built_for = torch.version.cuda
    target = os.environ.get(TARGET, "")
    advice = (
        f"build the image with the index of PyTorch's {target} builds: make image TARGET={target} TORCH_INDEX=ADDRESS"
    )
    if target == "gpu" and built_for is None:
        yield Line("torch", "fail", f"the image is for GPUs, and torch {torch.__version__} is not", advice)
    elif target == "cpu" and built_for is not None:
        found = f"the image is for CPUs, and torch {torch.__version__} brings gigabytes for CUDA {built_for}"
        yield Line("torch", "warn", found, advice)
    elif built_for is None:
        yield Line("torch", "ok", f"{torch.__version__}, cpu, {torch.get_num_threads()} threads")
    elif torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield Line("torch", "ok", f"{torch.__version__}, {names}")
    else:
        yield Line(
            "torch",
            "warn",
            f"{torch.__version__} is built for CUDA {built_for} and sees no GPU",
            "check the GPU and its driver (nvidia-smi), or set device to cpu",
        )
