"""Command `doctor`: is what the product needs here, and what is to be done where it is not. A file a kind of check."""

from i2i_unlearn.cli.doctor_checks.base import Check, Line, look
from i2i_unlearn.cli.doctor_checks.container import container
from i2i_unlearn.cli.doctor_checks.disk import disk
from i2i_unlearn.cli.doctor_checks.dvc_remote import dvc_remote
from i2i_unlearn.cli.doctor_checks.packages import packages
from i2i_unlearn.cli.doctor_checks.torch_device import torch_device

EVERYWHERE: tuple[Check, ...] = (packages, torch_device, disk, dvc_remote)
"""What a machine is asked, besides the servers that its settings name."""

IN_CONTAINER: tuple[Check, ...] = (container, torch_device)
"""What a container of the image is asked, in which the steps run."""

__all__ = ["EVERYWHERE", "IN_CONTAINER", "Check", "Line", "look"]
