"""All metrics by name. A new metric = a file, a line here and in `names.py`, a test.

A metric takes what was seen of a model on a set and gives a `Statistic`, or None where it has no meaning there.
"""

from collections.abc import Callable

from i2i_unlearn.evaluation.findings import FEATURE_METRICS, feature_metric_name
from i2i_unlearn.evaluation.metrics import (
    classifier_score,
    feature_cosine,
    frechet_distance,
    hole_psnr,
    kernel_distance,
    output_spread,
    own_loss,
    reference_psnr,
)
from i2i_unlearn.evaluation.metrics.bootstrap import Statistic
from i2i_unlearn.evaluation.metrics.observations import Observations

METRICS: dict[str, Callable[[Observations], Statistic | None]] = {
    "hole_psnr_db": hole_psnr.statistic,
    "feature_cosine": feature_cosine.statistic,
    "fd": frechet_distance.statistic,
    "kid": kernel_distance.statistic,
    "classifier_score": classifier_score.statistic,
    "own_loss": own_loss.statistic,
    "reference_psnr_db": reference_psnr.statistic,
    "output_spread": output_spread.statistic,
}


def statistics_of(seen: Observations, extractor: str) -> dict[str, Statistic]:
    """Every metric that has a meaning here, under its name in metrics.json."""
    found = {}
    for name, metric in METRICS.items():
        statistic = metric(seen)
        if statistic is not None:
            found[feature_metric_name(name, extractor) if name in FEATURE_METRICS else name] = statistic
    return found
