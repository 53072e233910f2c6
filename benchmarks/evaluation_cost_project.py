"""What the cost of an evaluation is measured on: synthetic images, their split, a teacher and an unlearned model.

Weights are random: they matter for no time and no memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.settings import laid_over
from benchmarks.setting import ROOT, params_of
from i2i_unlearn.config.sections import EvaluateConfig, PretrainConfig
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.data.split.manifest import SplitManifest, digest_images, fingerprints, write_manifest
from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.models import family_named
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.support.files import digest_file, digest_folder, write_json

DATA = "cifar10"
NUM_FORGET = 100


@dataclass(frozen=True)
class Project:
    """Inputs of the stage `evaluate`, in a folder."""

    folder: Path
    config: EvaluateConfig

    def arguments(self) -> dict[str, Any]:
        """Of `stages.evaluate.run`."""
        return {
            "images": str(self.folder / "images"),
            "splits": self.folder / "splits",
            "teacher": self.folder / "teacher",
            "unlearned": self.folder / "unlearned",
            "reference": "",
            "out": self.folder / "evaluation",
            "config": self.config,
        }


def make_project(folder: Path, num_images: int, family: str, changes: Mapping[str, Any]) -> Project:
    """`num_images` in two sets: forget (a hundred, or a fifth of few), retain. `changes` is laid over params.yaml."""
    params = laid_over(params_of(family, DATA), changes)
    original = PretrainConfig.from_params(params)
    records = _records(num_images, original.image_size, original.num_channels)
    write_shards(records, folder / "images", "synthetic")
    _write_split(folder, min(NUM_FORGET, num_images // 5))
    for number, name in enumerate(("teacher", "unlearned/model")):
        model = family_named(family).create(
            original.architecture,
            image_size=original.image_size,
            num_channels=original.num_channels,
            generator=generator_for(number, "benchmark"),
        )
        (folder / name).mkdir(parents=True)
        model.save(folder / name)
    summary = {
        "objective": "none",
        "teacher_sha256": digest_folder(folder / "teacher"),
        "manifest_sha256": digest_file(folder / "splits/manifest.parquet"),
        "model_sha256": digest_folder(folder / "unlearned/model"),
    }
    write_json(folder / "unlearned/summary.json", summary)
    return Project(folder, config_for(num_images, family, changes))


def config_for(num_images: int, family: str, changes: Mapping[str, Any]) -> EvaluateConfig:
    """Settings of params.yaml, with all images and without audits."""
    params = laid_over(params_of(family, DATA), changes)
    own = {
        "max_images": num_images,
        "max_feature_images": num_images,
        "audits": {**params["evaluate"]["audits"], "run": []},
    }
    evaluated = {**params, "evaluate": {**params["evaluate"], **own}}
    return EvaluateConfig.from_params(evaluated, policies=read_policies(ROOT / "mlflow/policies"))


def _records(num: int, size: int, num_channels: int) -> Iterator[Record]:
    """Coloured waves with grain: as large in a file as photographs of that size."""
    row, column = np.mgrid[:size, :size]
    for number in range(num):
        rng = np.random.default_rng(number)
        pixels = []
        for _ in range(num_channels):
            wave = np.sin(rng.uniform(0.1, 0.9) * row + rng.uniform(0.1, 0.9) * column + rng.uniform(0, 6))
            pixels.append(128 + 90 * wave + rng.normal(0, 8, (size, size)))
        image = np.stack(pixels, -1).clip(0, 255).astype(np.uint8)
        yield Record(f"{number:06}", "wave", stored_png(image if num_channels > 1 else image[..., 0]))


def _write_split(folder: Path, num_forget: int) -> None:
    index = read_index(str(folder / "images"))
    rows = index[["shard", "row"]].copy()
    rows["part"] = "train"
    rows["role"] = np.where(np.arange(len(rows)) < num_forget, "forget", "retain")
    rows["hmac_id"] = index["sample_id"]
    known = fingerprints(index)
    manifest = SplitManifest(rows, known, requests=("waves",), erased=(), image_digest=digest_images(known))
    (folder / "splits").mkdir()
    write_manifest(manifest, folder / "splits/manifest.parquet")
