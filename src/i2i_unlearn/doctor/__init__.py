"""Command `doctor`: is what the product needs here, and what is to be done where it is not. A file a kind of check."""

from i2i_unlearn.doctor.base import Check, Line, look
from i2i_unlearn.doctor.container import container
from i2i_unlearn.doctor.torch_device import torch_device

EVERYWHERE: tuple[Check, ...] = (torch_device,)
"""What a machine is asked."""

IN_CONTAINER: tuple[Check, ...] = (container, torch_device)
"""What a container of the image is asked, in which the steps run."""

__all__ = ["EVERYWHERE", "IN_CONTAINER", "Check", "Line", "look"]
