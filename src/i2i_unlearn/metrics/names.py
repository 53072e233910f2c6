"""The words of metrics.json: models, sets, pairs and metrics. Imports nothing, so that the gate stays light."""

FINDINGS_VERSION = 1
"""Schema version of metrics.json and verdicts.json."""
MODELS = ("teacher", "unlearned", "reference")
SETS = ("forget", "retain", "forget_holdout", "retain_holdout")
FORGET_SETS = ("forget", "forget_holdout")
"""Sets of images that may have to be kept out of sight."""
PAIRS = (("unlearned", "teacher"), ("unlearned", "reference"), ("reference", "teacher"))
"""Two models compared on the same images: (of, against). `differences` and `ratios` hold these."""

FEATURE_METRICS = ("fd", "kid")
"""Distances between sets of features; their names in metrics.json end in the extractor's: fd_efficientnet_lite0."""
PLAIN_METRICS = ("hole_psnr_db", "feature_cosine", "own_loss", "reference_psnr_db", "output_spread")
RATIO_METRICS = ("own_loss", "output_spread")
"""Metrics with a natural zero, for which "so many times as large" means something."""
MIN_IMAGES = 2
"""A set with fewer images is not scored: there is nothing to resample."""


def pair_name(of: str, against: str) -> str:
    """Key of a pair in `differences`: unlearned-teacher."""
    return f"{of}-{against}"


def ratio_name(of: str, against: str) -> str:
    """Key of a pair in `ratios`: unlearned/reference."""
    return f"{of}/{against}"
