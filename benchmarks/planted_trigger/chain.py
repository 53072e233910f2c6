"""The experiment from data to models, by the product's own stages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.planted_trigger.planting import write_data
from benchmarks.planted_trigger.settings import Settings
from benchmarks.quality.settings import laid_over
from benchmarks.quality.sources import PUBLIC_KEY
from i2i_unlearn.config.sections import PretrainConfig, ReferenceConfig, SplitConfig, UnlearnConfig
from i2i_unlearn.stages import pretrain, reference, split, unlearn

TEACHER, REFERENCE = "original", "reference"


@dataclass(frozen=True)
class Made:
    """What the chain made."""

    images: str
    manifest: Path
    models: dict[str, Path]
    """Model directories: the original, each arm, the reference."""
    seconds: dict[str, float]
    """Of training, by model."""


def run_chain(work: Path, settings: Settings) -> Made:
    """Plant, split, train the original, unlearn by every arm, retrain; all under `work`."""
    params = {**settings.params, "checkpoint_uri": str(work / "checkpoints")}
    images, requests = write_data(work / "data", settings, params["seed"])
    key = work / "hmac.key"  # of public data
    key.write_text(PUBLIC_KEY + "\n")
    splits = work / "splits"
    split.run(images, requests, splits, SplitConfig.from_params(params), hmac_key_file=str(key))
    teacher = work / TEACHER / "model"
    facts: dict[str, Any] = {TEACHER: pretrain.run(images, work / TEACHER, PretrainConfig.from_params(params))}
    folders = {TEACHER: work / TEACHER}
    for number, (name, own) in enumerate(settings.arms.items()):
        config = UnlearnConfig.from_params(laid_over(params, {"unlearn": dict(own)}))
        folders[name] = work / f"unlearned-{number}"
        facts[name] = unlearn.run(images, splits, teacher, folders[name], config)
    folders[REFERENCE] = work / REFERENCE
    config_of_reference = ReferenceConfig.from_params(params)
    facts[REFERENCE] = reference.retrain_one(images, splits, teacher, folders[REFERENCE], config_of_reference)
    return Made(
        images,
        splits / "manifest.parquet",
        {name: folder / "model" for name, folder in folders.items()},
        {name: float(found["seconds"]) for name, found in facts.items()},
    )
