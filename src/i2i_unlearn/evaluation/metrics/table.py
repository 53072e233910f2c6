"""All metrics by name. A new metric = a file that offers `statistic`, an entry here, a test. Imports nothing heavy.

`statistic` takes what was seen of a model on a set and gives a `Statistic`, or None where it has no meaning there.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from i2i_unlearn.evaluation.metrics.bootstrap import Statistic
    from i2i_unlearn.evaluation.metrics.observations import ImageFacts, Observations

PUBLISHED_WITH = "inception_v3"
"""Only with this extractor is a metric what is published under the name in `published`."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One metric: where it is computed, and how it is called and written."""

    module: str
    """In this package; imported when the metric is computed, not before: the gate reads this table without torch."""
    kind: Literal["image", "features"]
    """Of pixels or losses, or of an extractor's features: the name then ends in the extractor's, fd_clip."""
    title: str
    meaning: str
    """As a sentence; `{extractor}` is replaced by the extractor's title."""
    digits: int
    """Decimals."""
    unit: str = ""
    min_images: int = 1
    """Of fewer images it does not exist."""
    has_ratio: bool = False
    """Whether it has a natural zero, so that "three times as large" means something."""
    published: str = ""
    """Name in metrics.json with the extractor `PUBLISHED_WITH`, where it differs."""
    published_title: str = ""

    def statistic(self, seen: "Observations | ImageFacts") -> "Statistic | None":
        """The metric of what was seen of one model on one set."""
        if len(seen.hole_error_N) < self.min_images:
            return None
        found: Statistic | None = import_module(f"i2i_unlearn.evaluation.metrics.{self.module}").statistic(seen)
        return found


_DISTANCE = "between completed and original images in the features of {extractor}; lower = closer."
METRICS: dict[str, Entry] = {
    "hole_psnr_db": Entry(
        module="hole_psnr",
        kind="image",
        title="Hole PSNR",
        meaning="Closeness to the original in the hidden pixels only; higher = closer.",
        digits=2,
        unit="dB",
    ),
    "feature_cosine": Entry(
        module="feature_cosine",
        kind="features",
        title="Feature cosine",
        meaning="Likeness of the completed image to its original in the features of {extractor}; 1 = alike.",
        digits=3,
    ),
    "fd": Entry(
        module="frechet_distance",
        kind="features",
        min_images=2,
        title="FD",
        meaning=f"Frechet distance {_DISTANCE}",
        digits=1,
        published="fid",
        published_title="FID",
    ),
    "kid": Entry(
        module="kernel_distance",
        kind="features",
        min_images=2,
        title="KID",
        meaning=f"Kernel distance {_DISTANCE}",
        digits=4,
    ),
    "classifier_score": Entry(
        module="classifier_score",
        kind="features",
        title="Classifier score",
        meaning="How surely {extractor} names what it sees, and how much that varies; 1 = all images look alike to it.",
        digits=2,
        published="inception_score",
        published_title="Inception Score",
    ),
    "own_loss": Entry(
        module="own_loss",
        kind="image",
        title="Own loss",
        meaning="The loss that the model family is trained with; lower = better fit.",
        digits=4,
        has_ratio=True,
    ),
    "reference_psnr_db": Entry(
        module="reference_psnr",
        kind="image",
        title="Closeness to the retrained model's outputs",
        meaning="PSNR in the hole between a model's outputs and the retrained model's; higher = behaves more like it.",
        digits=2,
        unit="dB",
    ),
    "output_spread": Entry(
        module="output_spread",
        kind="image",
        min_images=2,
        title="Spread of outputs",
        meaning="Standard deviation over images, mean over hidden pixels; near 0 = the same answer for every image.",
        digits=3,
        has_ratio=True,
    ),
}
RATIO_METRICS = tuple(name for name, entry in METRICS.items() if entry.has_ratio)


def name_in_metrics(metric: str, extractor: str) -> str:
    """Name in metrics.json: own_loss, fd_efficientnet_lite0, but fid_inception_v3."""
    entry = METRICS[metric]
    if entry.kind == "image":
        return metric
    return f"{entry.published if entry.published and extractor == PUBLISHED_WITH else metric}_{extractor}"


def find_metric(name: str) -> tuple[str, str] | None:
    """The metric and the extractor of a name in metrics.json, the law `find(name_in_metrics(m, e)) == (m, e)`.

    The extractor is empty for a metric of images; None where no metric has this name.
    """
    for metric, entry in METRICS.items():
        if entry.kind == "image":
            if name == metric:
                return metric, ""
            continue
        for prefix in filter(None, (metric, entry.published)):
            if name.startswith(f"{prefix}_"):
                return metric, name.removeprefix(f"{prefix}_")
    return None


def names_to_choose() -> list[str]:
    """Every name that a policy may bound; those of features with <extractor> at the end."""
    names = [name for name, entry in METRICS.items() if entry.kind == "image"]
    of_features = [entry for entry in METRICS.items() if entry[1].kind == "features"]
    return names + [
        f"{prefix}_<extractor>" for name, entry in of_features for prefix in (name, entry.published) if prefix
    ]


OF_IMAGE_FACTS = ("hole_psnr_db", "own_loss")
"""Metrics of single numbers per image, which an original whose weights are destroyed has too."""


def statistics_of(seen: "Observations | ImageFacts", extractor: str) -> "dict[str, Statistic]":
    """Every metric that has a meaning here, under its name in metrics.json."""
    names = METRICS if hasattr(seen, "features") else OF_IMAGE_FACTS
    found = {name_in_metrics(name, extractor): METRICS[name].statistic(seen) for name in names}
    return {name: statistic for name, statistic in found.items() if statistic is not None}
