"""Hands the audits of `evaluate` their images: some of those that are scored, with the same masks, in memory."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from i2i_unlearn.config.sections import EvaluateConfig
from i2i_unlearn.data.images.reading import load_pixels, wanted_by
from i2i_unlearn.data.split.manifest import ERASED, FORGET
from i2i_unlearn.evaluation.audits.base import AuditInputs, CanaryImages, ImageSet
from i2i_unlearn.evaluation.findings import SINGLE_IMAGES
from i2i_unlearn.evaluation.inputs import Inputs
from i2i_unlearn.evaluation.metrics.observations import ImageFacts
from i2i_unlearn.evaluation.metrics.observe import masks_of
from i2i_unlearn.models.base import ImageToImage
from i2i_unlearn.models.extractors import Extractor
from i2i_unlearn.models.operators import Operator
from i2i_unlearn.models.randomness import derive_seed

RANKED = "rank_shift"
"""The audit that wants `Inputs.further`."""

TRAINED = "coming_back"
"""The audit that wants an epoch of retain images."""

WITH_CANARIES = "canaries"


def audit_inputs(
    inputs: Inputs,
    images: str,
    config: EvaluateConfig,
    extractor: Extractor,
    device: torch.device,
    observed: Mapping[str, Mapping[str, ImageFacts]],
) -> AuditInputs:
    """Read at most `audits.max_images` of every set; none where no audit is to be made.

    `observed` is what was seen of the scored images, by set and model.
    """
    most = config.audits.max_images if config.audits.run else 0
    model = inputs.models["teacher"]
    sets, positions = {}, {}
    for name, chosen in inputs.sets.items():
        positions[name] = _some(len(chosen.rows), most, derive_seed(config.seed, "audit", "subset", name))
        rows = chosen.rows.iloc[positions[name]].reset_index(drop=True)
        sets[name] = read_images(rows, images, inputs.operator, config.seed, model)
    ranked = RANKED in config.audits.run
    further = inputs.further.rows if ranked else inputs.further.rows[:0]
    return AuditInputs(
        models=inputs.models,
        sets=sets,
        operator=inputs.operator,
        extractor=extractor,
        settings=config.audits,
        num_draws=config.num_bootstrap,
        batch_size=config.batch_size,
        seed=config.seed,
        device=device,
        observed=observed,
        further=read_images(further, images, inputs.operator, config.seed, model) if len(further) else None,
        further_labels=further["label"].to_numpy(dtype=str),
        canaries=_canaries(inputs, images, config) if WITH_CANARIES in config.audits.run else None,
        epoch=_epoch(inputs, images, config) if TRAINED in config.audits.run else None,
        positions=positions,
        labels={name: chosen.rows["label"].to_numpy(dtype=str) for name, chosen in inputs.sets.items()},
        codes={name: chosen.rows["hmac_id"].to_numpy(dtype=str) for name, chosen in inputs.sets.items()},
        one_by_one=inputs.selected_by == SINGLE_IMAGES,
        single_images=inputs.single_images,
    )


def _canaries(inputs: Inputs, images: str, config: EvaluateConfig) -> CanaryImages | None:
    rows = inputs.canaries
    if not len(rows):
        return None
    included = rows["included"].to_numpy(dtype=bool)
    return CanaryImages(
        images=read_images(rows, images, inputs.operator, config.seed, inputs.models["teacher"]),
        included_N=included,
        tested_N=rows["tested"].to_numpy(dtype=bool),
        forgotten_N=rows["role"].isin((FORGET, ERASED)).to_numpy() & included,
    )


def _epoch(inputs: Inputs, images: str, config: EvaluateConfig) -> ImageSet:
    """At most `audits.epoch_images` of all retain images."""
    rows = inputs.manifest.of("retain")
    some = _some(len(rows), config.audits.epoch_images, derive_seed(config.seed, "audit", "subset", "epoch"))
    return read_images(rows.iloc[some], images, inputs.operator, config.seed, inputs.models["teacher"])


def _some(num: int, most: int, seed: int) -> NDArray[np.int64]:
    """Places of a random subset, in manifest order."""
    if num <= most:
        return np.arange(num)
    return np.sort(np.random.default_rng(seed).choice(num, most, replace=False))


def read_images(rows: pd.DataFrame, images: str, operator: Operator, seed: int, model: ImageToImage) -> ImageSet:
    """Images of `rows` (columns shard, row), in their order and of the model's size, with the masks of `evaluate`."""
    image_size, num_channels = model.image_size, model.num_channels
    places = list(zip(rows["shard"].tolist(), rows["row"].tolist(), strict=True))
    if not places:
        empty = torch.empty((0, num_channels, *image_size), dtype=torch.uint8)
        return ImageSet(images_NCHW=empty, visible_NHW=torch.empty((0, *image_size), dtype=torch.bool))
    pixels_NCHW = load_pixels(images, rows, **wanted_by(model), description="images of audits")
    return ImageSet(images_NCHW=pixels_NCHW, visible_NHW=masks_of(places, operator, *image_size, seed=seed))
