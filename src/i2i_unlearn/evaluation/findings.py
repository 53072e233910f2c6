"""The words of metrics.json and verdicts.json (models, sets, pairs), and their reader. Imports nothing heavy."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import read_json

FINDINGS_VERSION = 5
"""Schema version of metrics.json and verdicts.json."""
TEACHER, UNLEARNED, ORIGINAL = "teacher", "unlearned", "original"
"""The previous champion, the new model, and the model before any request where the teacher is another one."""
MODELS = (TEACHER, UNLEARNED, ORIGINAL, "reference")
REFERENCE = "reference"
"""The first retrained model; further ones are `reference_2`, `reference_3`, ..."""
SETS = ("forget", "retain", "forget_holdout", "retain_holdout")
FORGET_SETS = ("forget", "forget_holdout")
"""Sets of images that may have to be kept out of sight."""
NEVER_SEEN_SETS = ("forget_holdout", "retain_holdout")
"""Sets of images that no model was trained on and no objective used."""
EARLIER_HOLDOUT = "earlier_holdout"
"""Never-seen images too, that an earlier request selected; compared with that request's images alone."""
PAIRS = (
    (UNLEARNED, TEACHER),
    (UNLEARNED, ORIGINAL),
    (UNLEARNED, REFERENCE),
    (REFERENCE, TEACHER),
    (REFERENCE, ORIGINAL),
)
"""Two models compared on the same images: (of, against). `differences` and `ratios` hold these."""
SINGLE_IMAGES = "sample_id"
"""`selected_by` in metrics.json where requests name images one by one; else label, subject, or several of the three."""
FEWEST_OF_CLASS = 30
"""A class of which fewer images are scored is not judged alone."""
GAP_SETS = ("retain", "retain_holdout")
"""What a model does better on images that it was trained on: the first less the second; `gaps` hold it."""


def is_reference(model: str) -> bool:
    """Whether a model's name is that of a reference."""
    return model == REFERENCE or model.startswith(f"{REFERENCE}_")


def original_in(models: Collection[str]) -> str:
    """Name of the model before any request among these: the teacher where that is the same model."""
    return ORIGINAL if ORIGINAL in models else TEACHER


def judged_operators(metrics: Mapping[str, Any]) -> list[str]:
    """Operators that were judged, NAME:KEEP_FRACTION each (models/operators.py), the one of the training first."""
    return [f"{metrics['operator']}:{metrics['keep_fraction']:g}", *metrics.get("operators", {})]


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
