"""Audit rank_shift of other forget images than the evaluation's own: what it needs and no more.

Nothing is embedded, since ranks need no features.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i_unlearn.config.sections import EvaluateConfig
from i2i_unlearn.evaluation.audits.base import AuditInputs, ImageSet
from i2i_unlearn.evaluation.audits.rank_shift import AUDIT
from i2i_unlearn.evaluation.audits.run import run_audits
from i2i_unlearn.evaluation.findings import SETS
from i2i_unlearn.evaluation.inputs import ChosenSet, Inputs, batches
from i2i_unlearn.evaluation.metrics.observations import ImageFacts
from i2i_unlearn.evaluation.metrics.observe import SetObserver
from i2i_unlearn.support.progress import Advance

Observed = Mapping[str, Mapping[str, ImageFacts]]
"""By set and model."""


class NoFeatures:
    """Meets `Extractor`, at no cost."""

    num_features = 1

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """One for every image."""
        return torch.ones(len(images_BCHW), 1)


def labels_of(chosen: ChosenSet) -> NDArray[np.str_]:
    """The class of every scored image; empty text where the data name none."""
    return chosen.rows["label"].to_numpy(dtype=str)


def observe_sets(
    inputs: Inputs,
    images: str,
    sets: Mapping[str, ChosenSet],
    config: EvaluateConfig,
    device: torch.device,
    advance: Advance,
) -> dict[str, dict[str, ImageFacts]]:
    """What each of `inputs.models` does with the images of each set, which must have some."""
    return {name: _observe(inputs, images, name, chosen, config, device, advance) for name, chosen in sets.items()}


def _observe(
    inputs: Inputs,
    images: str,
    set_name: str,
    chosen: ChosenSet,
    config: EvaluateConfig,
    device: torch.device,
    advance: Advance,
) -> dict[str, ImageFacts]:
    observer = SetObserver(
        inputs.models,
        NoFeatures(),
        set_name=set_name,
        num_images=len(chosen.rows),
        seed=config.seed,
        device=device,
    )
    model = next(iter(inputs.models.values()))
    for images_BCHW, visible_BHW in batches(model, inputs.operator, images, chosen, config):
        advance(len(observer.see(images_BCHW, visible_BHW)), set_name)
    return {name: observations.facts() for name, observations in observer.observations().items()}


def rank_entry(attacked: AuditInputs, observed: Observed, labels: Mapping[str, NDArray[np.str_]]) -> dict[str, Any]:
    """The audit's entry of metrics.json; `observed` and `labels`, by set, take the place of what `attacked` has."""
    sets = {name: _without_pixels(len(labels.get(name, ()))) for name in SETS}
    settings = attacked.settings.model_copy(update={"run": [AUDIT.name]})
    again = replace(
        attacked,
        sets=sets,
        observed=observed,
        labels=labels,
        positions={},
        further=None,
        further_labels=np.empty(0, dtype=str),
        settings=settings,
    )
    return run_audits(again, lambda *_: None)[AUDIT.name]


def _without_pixels(count: int) -> ImageSet:
    """The audit counts images and reads what was observed of them."""
    return ImageSet(images_NCHW=torch.empty(count, 0, 0, 0), visible_NHW=torch.empty(count, 0, 0))
