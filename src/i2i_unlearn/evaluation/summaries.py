"""The summary.json that a stage leaves, read by a later one: did that stage make this folder?"""

from pathlib import Path
from typing import Any

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import read_json

OWN_KEYS = {
    "unlearn": ("objective", "teacher_sha256", "manifest_sha256"),
    "reference": ("kind",),
}
"""What a stage always writes, as text, and no other stage all of."""


def read_summary(folder: Path, stage: str) -> dict[str, Any]:
    """The summary of an output folder of `stage`.

    Raises:
        UserError: there is none, or another stage made the folder.
    """
    path = folder / "summary.json"
    summary = read_json(path)
    found = summary if isinstance(summary, dict) else {}
    lacking = [key for key in OWN_KEYS[stage] if not isinstance(found.get(key), str)]
    if lacking:
        raise UserError(
            f"{folder}: not made by `i2i-unlearn {stage}` (its summary.json has no {', '.join(lacking)}); give the"
            " folder that this stage wrote"
        )
    return found
