"""The words of metrics.json: models, sets, pairs and metrics. Imports nothing, so that the gate stays light."""

FINDINGS_VERSION = 3
"""Schema version of metrics.json and verdicts.json; what the earlier ones were: findings.py."""
MODELS = ("teacher", "unlearned", "reference")
SETS = ("forget", "retain", "forget_holdout", "retain_holdout")
FORGET_SETS = ("forget", "forget_holdout")
"""Sets of images that may have to be kept out of sight."""
PAIRS = (("unlearned", "teacher"), ("unlearned", "reference"), ("reference", "teacher"))
"""Two models compared on the same images: (of, against). `differences` and `ratios` hold these."""

FEATURE_METRICS = ("feature_cosine", "fd", "fid", "kid", "classifier_score", "inception_score")
"""Of features; their names in metrics.json end in the extractor's: fd_efficientnet_lite0."""
PUBLISHED_WITH = "inception_v3"
PUBLISHED_NAMES = {"fd": "fid", "classifier_score": "inception_score"}
"""Only with this extractor are they what is published under these names."""
PLAIN_METRICS = ("hole_psnr_db", "own_loss", "reference_psnr_db", "output_spread")
RATIO_METRICS = ("own_loss", "output_spread")
"""Metrics with a natural zero, for which "so many times as large" means something."""
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


def feature_metric_name(metric: str, extractor: str) -> str:
    """Name in metrics.json: fd_efficientnet_lite0, but fid_inception_v3."""
    published = PUBLISHED_NAMES if extractor == PUBLISHED_WITH else {}
    return f"{published.get(metric, metric)}_{extractor}"
