"""Command `doctor`: whether what the product needs is here, and what to do if not. One file per kind of check."""

from i2i_unlearn.cli.doctor_checks.base import Check, Line, look
from i2i_unlearn.cli.doctor_checks.container import container
from i2i_unlearn.cli.doctor_checks.disk import disk
from i2i_unlearn.cli.doctor_checks.dvc_remote import dvc_remote
from i2i_unlearn.cli.doctor_checks.packages import packages
from i2i_unlearn.cli.doctor_checks.project import project
from i2i_unlearn.cli.doctor_checks.torch_device import torch_device

EVERYWHERE: tuple[Check, ...] = (packages, torch_device, disk, dvc_remote, project)
"""Checks of a machine and of the project in the working folder, apart from the servers that its settings name."""

IN_CONTAINER: tuple[Check, ...] = (container, torch_device)
"""Checks of a container of the image, in which the steps run."""

__all__ = ["EVERYWHERE", "IN_CONTAINER", "Check", "Line", "look"]
