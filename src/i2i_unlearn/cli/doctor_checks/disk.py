"""Room for what runs write."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from i2i_unlearn.cli.doctor_checks.base import Line

GIB = 2**30
FAIL_BELOW = 1 * GIB
"""A run of a small model writes a few hundred MB: models, checkpoints (weights and Adam's two moments), reports."""
WARN_BELOW = 10 * GIB
"""A checkpoint of a model of 300 million weights takes 3.6 GB, and the old one stays until the new one is whole."""


def disk() -> Iterator[Line]:
    """The working folder and the folder for temporary files."""
    yield room("disk (working folder)", Path.cwd())
    temporary = Path(tempfile.gettempdir())
    if temporary.stat().st_dev != Path.cwd().stat().st_dev:
        yield room("disk (temporary files)", temporary)


def room(name: str, folder: Path, fail_below: int = FAIL_BELOW, warn_below: int = WARN_BELOW) -> Line:
    """Free bytes under `folder`."""
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free in {folder}"
    if free < fail_below:
        return Line(name, "fail", found, f"make room: at least {fail_below / GIB:.0f} GiB")
    if free < warn_below:
        return Line(name, "warn", found, "enough for small models; checkpoints of large models need more")
    return Line(name, "ok", found)
