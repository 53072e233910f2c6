"""Reads metrics.json and verdicts.json of an evaluation, of this program or an earlier one.

1    has no audits, and does not say how the request selects its images
2    `audits` and `selected_by` in metrics.json
3    the name of `feature_cosine` ends in the extractor's, as those of the other metrics of features do
"""

from pathlib import Path
from typing import Any

from i2i_unlearn.evaluation.findings import FINDINGS_VERSION, feature_metric_name
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import read_json


def read_findings(path: Path) -> dict[str, Any]:
    """The content of either file, in the present shape: no audits were made where the file is older than they are.

    Raises:
        UserError: it is missing, not JSON, or of a version that is not known.
    """
    content = read_json(path)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or not 1 <= version <= FINDINGS_VERSION:
        raise UserError(
            f"{path}: schema version {version}, this program reads {FINDINGS_VERSION}; run `i2i-unlearn evaluate` again"
        )
    if path.name == "metrics.json":
        if version < 2:
            content = {**content, "audits": {}, "selected_by": "", "holdout_alike": False}
        if version < 3:
            content = {**content, **_with_named_cosine(content)}
    return {**content, "schema_version": FINDINGS_VERSION}


def _with_named_cosine(metrics: dict[str, Any]) -> dict[str, Any]:
    """The tables of scores, model or pair -> set -> metric, with the extractor in the name of the feature cosine."""
    names = {"feature_cosine": feature_metric_name("feature_cosine", metrics.get("extractor", ""))}
    return {
        table: {
            row: {
                set_name: {names.get(metric, metric): value for metric, value in found.items()}
                for set_name, found in sets.items()
            }
            for row, sets in metrics[table].items()
        }
        for table in ("scores", "differences")
        if table in metrics
    }
