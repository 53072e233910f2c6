"""The synthetic part of the retain set: which images are read for it, and what the teacher makes of them."""

import sys
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from i2i_unlearn.config.sections import UnlearnConfig
from i2i_unlearn.data.images.holdout import TRAIN
from i2i_unlearn.data.images.reading import load_pixels, read_index, wanted_by
from i2i_unlearn.data.split.manifest import ERASED, FORGET, PROXY_RETAIN, RETAIN, SplitManifest
from i2i_unlearn.method.prototypes import FEWEST, Prototypes, mean_images, read_prototypes
from i2i_unlearn.method.synthetic import Start, from_crops, from_noise, from_prototypes, make_synthetic
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.support.device import num_threads
from i2i_unlearn.support.errors import UserError


def synthetic_retain(
    images: str, manifest: SplitManifest, teacher: Any, config: UnlearnConfig, device: torch.device
) -> Tensor:
    """Retain images that the teacher makes, uint8 (N, C, H, W) on `device`.

    Always read: the forget images, to leave out what looks like them. Besides: proxy images for `proxy_crops`, retain
    images for `prototypes` unless a file of them is given.

    Raises:
        UserError: the split lacks what the source needs, or too few images pass.
    """
    reader = _Reader(images, manifest, teacher)
    with num_threads(config.num_threads):
        made = make_synthetic(
            teacher.to(device),
            make_operator(config.operator, config.keep_fraction, config.operator_patch_size),
            _start(reader, config),
            reader.pixels(manifest.of(FORGET)).to(device),
            num=config.synthetic_images,
            seed=config.seed,
        )
    num_made = len(made.images_NCHW)
    print(f"synthetic retain images: {num_made} made, {made.num_left_out} left out as forget-like", file=sys.stderr)
    return made.images_NCHW


class _Reader:
    """Pixels and classes of rows of the manifest, as this model takes them."""

    def __init__(self, images: str, manifest: SplitManifest, model: Any) -> None:
        self.images = images
        self.manifest = manifest
        self.shape: tuple[int, int, int] = (model.num_channels, *model.image_size)
        self.wanted = wanted_by(model)

    def pixels(self, rows: pd.DataFrame) -> Tensor:
        return load_pixels(self.images, rows, **self.wanted, description="reading for synthetic images")

    def labels(self, rows: pd.DataFrame) -> list[str]:
        index = read_index(self.images)[["shard", "row", "label"]]
        return list(rows.merge(index, on=["shard", "row"], how="left")["label"])


def _start(reader: _Reader, config: UnlearnConfig) -> Start:
    if config.synthetic_from == "noise":
        return from_noise(*reader.shape)
    if config.synthetic_from == "proxy_crops":
        rows = reader.manifest.of(PROXY_RETAIN)
        if not len(rows):
            raise UserError(
                "unlearn.synthetic_from=proxy_crops: the split has no image of the role proxy_retain; "
                "set split.proxy_labels or split.proxy_fraction"
            )
        return from_crops(reader.pixels(rows))
    prototypes = _prototypes(reader, config)
    if not prototypes.means:
        raise UserError(
            f"unlearn.synthetic_from=prototypes: no class has {FEWEST} images besides those to be forgotten; "
            "choose noise or proxy_crops"
        )
    return from_prototypes(prototypes.stacked())


def _prototypes(reader: _Reader, config: UnlearnConfig) -> Prototypes:
    """Class means without any image that is to be forgotten or was."""
    if not config.prototypes:
        rows = reader.manifest.of(RETAIN)
        return mean_images(reader.pixels(rows), reader.labels(rows))
    rows = reader.manifest.of(FORGET, ERASED)
    rows = rows[rows["part"] == TRAIN].reset_index(drop=True)  # held-out images never entered a mean
    return read_prototypes(config.prototypes, reader.shape).without(reader.pixels(rows), reader.labels(rows))
