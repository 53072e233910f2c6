"""Reads metrics.json and verdicts.json of an evaluation, of this program or an earlier one.

1    has no audits, and does not say how the request selects its images
2    `audits` and `selected_by` in metrics.json
"""

from pathlib import Path
from typing import Any

from i2i_unlearn.errors import UserError
from i2i_unlearn.files import read_json
from i2i_unlearn.metrics.names import FINDINGS_VERSION

_WITHOUT_AUDITS = 1


def read_findings(path: Path) -> dict[str, Any]:
    """The content of either file, in the present shape: no audits were made where the file is older than they are.

    Raises:
        UserError: it is missing, not JSON, or of a version that is not known.
    """
    content = read_json(path)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version == _WITHOUT_AUDITS:
        more = {"audits": {}, "selected_by": "", "holdout_alike": False} if path.name == "metrics.json" else {}
        return {**content, **more, "schema_version": FINDINGS_VERSION}
    if version != FINDINGS_VERSION:
        raise UserError(
            f"{path}: schema version {version}, this program reads {FINDINGS_VERSION}; run `i2i-unlearn evaluate` again"
        )
    return dict(content)
