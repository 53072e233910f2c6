"""What is seen of one model on one set of images: everything that metrics are computed from.

Shape letters: K draws, N images (of pixels: only those that `sampled_N` names), D features, P sampled hole pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from i2i_unlearn.evaluation.metrics.bootstrap import Floats, Statistic
from i2i_unlearn.evaluation.metrics.class_sums import ClassSums
from i2i_unlearn.evaluation.metrics.features import Array, FeatureRows, FeatureSums

__all__ = ["MOST_IMAGES", "Array", "ImageFacts", "Observations", "of_sampled"]

MOST_IMAGES = 1000
"""Of more images, pixels and rows of features are kept of this many, drawn at random: more would change the spread of
outputs by less than 3 %, and it is the published subset size of the kernel distance."""


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """Numbers of single images as one model completed them: one row per image, in the same order for every model."""

    hole_error_N: Array
    """Mean squared error in the hole between completed image and original; pixels in [0, 1]."""
    reference_errors: Mapping[str, Array]
    """The same between this model's output and each reference's, by reference; none for a reference itself (N,)."""
    own_loss_N: Array
    """The loss that the family is trained with."""
    feature_cosine_N: Array
    """Cosine between the extractor's features of the completed image and those of the original; NaN of images whose
    features were not asked for (evaluate.max_feature_images)."""
    contrast_N: Array
    roughness_N: Array
    edge_N: Array
    """The three of `evaluation/metrics/shape.py`; NaN where they do not exist."""

    def facts(self) -> "ImageFacts":
        """These numbers alone."""
        return ImageFacts(**{field.name: getattr(self, field.name) for field in fields(ImageFacts)})


@dataclass(frozen=True, kw_only=True)
class Observations(ImageFacts):
    """And what stops growing at a number of images."""

    features: FeatureRows | FeatureSums
    """The extractor's features of the completed images: sums of `featured_N` where these are enough for
    `is_frechet_reliable`, else rows of `rows_N`."""
    original_features: FeatureRows | FeatureSums
    """The same of the originals; the same object for every model."""
    classes: ClassSums | None
    """What the extractor's classifier sees in the completed images; None where it has none."""
    pixels_NP: Array
    """Some completed images' values at some fixed pixels, in [0, 1]."""
    hidden_NP: NDArray[np.bool_]
    """Whether each of these pixels is hidden in this image; the same array for every model."""
    sampled_N: NDArray[np.int64]
    """Which images these are; all of them unless there are many."""
    featured_N: NDArray[np.int64]
    """Images whose features were computed, in order."""
    rows_N: NDArray[np.int64]
    """Of these, the ones whose features are kept as rows: all of them unless there are many."""


def of_sampled(statistic: Statistic, sampled_N: NDArray[np.int64]) -> Statistic:
    """A statistic of the sampled images alone, made to take the counts of all images of the set."""

    def of(counts_KN: Floats) -> Floats:
        return statistic.of(counts_KN[:, sampled_N])

    return replace(statistic, of=of, num_images=len(sampled_N))
