"""The words of metrics.json and verdicts.json (models, sets, pairs), and their reader. Imports nothing heavy."""

from pathlib import Path
from typing import Any

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import read_json

FINDINGS_VERSION = 3
"""Schema version of metrics.json and verdicts.json."""
MODELS = ("teacher", "unlearned", "reference")
SETS = ("forget", "retain", "forget_holdout", "retain_holdout")
FORGET_SETS = ("forget", "forget_holdout")
"""Sets of images that may have to be kept out of sight."""
PAIRS = (("unlearned", "teacher"), ("unlearned", "reference"), ("reference", "teacher"))
"""Two models compared on the same images: (of, against). `differences` and `ratios` hold these."""
SINGLE_IMAGES = "sample_id"
"""`selected_by` in metrics.json where requests name images one by one; else label, subject, or several of the three."""
MIN_IMAGES = 2
"""A set with fewer images is not scored: there is nothing to resample."""


def pair_name(of: str, against: str) -> str:
    """Key of a pair in `differences`: unlearned-teacher."""
    return f"{of}-{against}"


def ratio_name(of: str, against: str) -> str:
    """Key of a pair in `ratios`: unlearned/reference."""
    return f"{of}/{against}"


def read_findings(path: Path) -> dict[str, Any]:
    """The content of metrics.json or verdicts.json.

    Raises:
        UserError: it is missing, not JSON, or of another schema version.
    """
    content = read_json(path)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != FINDINGS_VERSION:
        raise UserError(
            f"{path}: schema version {version}, this program reads {FINDINGS_VERSION}; run `i2i-unlearn evaluate` again"
        )
    found: dict[str, Any] = content
    return found
