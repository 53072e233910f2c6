"""The presets of published experiments, from the set as it is published to the file in the original's format.

The sets are miniatures in the published layouts, the originals small ones in the published formats; every command is
the real one. What a miniature must have smaller is laid over the preset: `SMALL` and each line of `EXPERIMENTS`.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from i2i_unlearn.config.presets import find_preset, overlaid
from i2i_unlearn.data.split.manifest import read_manifest
from tests.data.importers.published_sets import write_imagenet, write_places365
from tests.models.published.files import HEADS, PALETTE, file_of, weights

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "device": "cpu",
    "operator_patch_size": 4,
    "unlearn": {"num_steps": 12, "batch_size": 4, "warmup_steps": 2, "learning_rate": 0.001},
    "evaluate": {
        "extractor": "efficientnet_lite0",  # the weights of Inception do not come with a package
        "batch_size": 8,
        "num_bootstrap": 20,
        "audits": {"run": ["membership"], "num_completions": 1},
    },
}
PROTOCOL = {"forget_classes": 2, "retain_classes": 2, "images_per_class": 6, "heldout_per_class": 3}


@dataclass(frozen=True)
class Experiment:
    golden: str
    """Folder of the original."""
    write: Callable[[Path], Path]
    """Makes the set."""
    options: dict[str, Any]
    """`snapshot.checkpoint`."""
    settings: dict[str, Any]


EXPERIMENTS = {
    "imagenet1k-mae": Experiment("mae", write_imagenet, HEADS, {"keep_fraction": 0.75}),
    "imagenet1k-mage": Experiment("mage", write_imagenet, {**HEADS, "decoding_steps": 2}, {}),
    "places365-palette": Experiment("palette", write_places365, PALETTE, {}),
}


@dataclass(frozen=True)
class Done:
    name: str
    folder: Path
    experiment: Experiment
    outputs: dict[str, str]
    """What each command printed."""

    def summary(self, stage: str) -> dict[str, Any]:
        return json.loads((self.folder / f"artifacts/{stage}/summary.json").read_text())

    def original(self) -> dict[str, torch.Tensor]:
        return weights(file_of(self.experiment.golden))[0]


@pytest.fixture(scope="module", params=EXPERIMENTS)
def done(request, tmp_path_factory, command_line):
    """Every command of docs/public_checkpoints.md was run in a folder of its own."""
    name, experiment = request.param, EXPERIMENTS[request.param]
    folder = tmp_path_factory.mktemp(name)
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(ROOT / "mlflow/policies", folder / "mlflow/policies")
    (folder / "presets").mkdir()
    preset = find_preset(ROOT / "presets", name)
    settings = overlaid(preset.settings, {})
    for section, changes in {**SMALL, **experiment.settings, "snapshot": {"checkpoint": experiment.options}}.items():
        settings[section] = settings.get(section, {}) | changes if isinstance(changes, dict) else changes
    content = {"description": preset.description, "protocol": PROTOCOL, **settings}
    (folder / f"presets/{name}.yaml").write_text(yaml.safe_dump(content))
    experiment.write(folder / "published")
    shutil.copy(file_of(experiment.golden), folder / "original.pth")
    commands = {
        "preset": ["preset", "use", name],
        "protocol": ["data", "protocol", name, "published"],
        "key": ["data", "key"],
        "request": ["request", "add", "classes", "--labels-file", f"data/{name}.forget.txt", "--allow-large"],
        "split": ["split"],
        "snapshot": ["snapshot", "--from", "original.pth"],
        "unlearn": ["unlearn"],
        "reference": ["reference"],
        "evaluate": ["evaluate"],
        "export": ["export", "--out", "unlearned.pth"],
    }
    outputs = {}
    for verb, words in commands.items():
        ended = command_line(folder, *words)
        assert ended.code == 0, (verb, ended.err)
        outputs[verb] = ended.out
    return Done(name, folder, experiment, outputs)


def test_the_split_is_that_of_the_protocol(done):
    manifest = read_manifest(done.folder / "artifacts/splits/manifest.parquet", str(done.folder / "data/images"))
    counts = {role: len(manifest.of(role)) for role in ("forget", "retain", "forget_holdout", "retain_holdout")}
    assert counts == {"forget": 12, "retain": 12, "forget_holdout": 6, "retain_holdout": 6}


def test_the_original_is_the_published_file(done):
    facts = done.summary("teacher")
    assert facts["source"] == "original.pth"
    assert facts["family"] == {"mae": "mae", "mage": "vqgan", "palette": "diffusion"}[done.experiment.golden]


def test_it_forgets(done):
    rows = [json.loads(line) for line in (done.folder / "artifacts/unlearned/steps.jsonl").open()]
    assert len(rows) == 12
    if done.experiment.golden != "palette":  # whose times are drawn anew at every step
        assert rows[-1]["forget"] < rows[0]["forget"]
    assert done.summary("unlearned")["objective"] == "encoder_l2"


def test_all_four_sets_are_scored_without_a_reference(done):
    metrics = json.loads((done.folder / "artifacts/evaluation/metrics.json").read_text())
    assert set(metrics["scores"]) == {"teacher", "unlearned"}
    for scores in metrics["scores"].values():
        assert {"forget", "retain", "forget_holdout", "retain_holdout"} <= set(scores)
    assert metrics["audits"]["membership"]["status"]


def test_the_file_in_the_originals_format_holds_the_unlearned_model(done):
    found, original = weights(done.folder / "unlearned.pth")[0], done.original()
    assert list(found) == list(original)
    same = {name for name in found if found[name].equal(original[name])}
    assert len(same) < len(found)
    encoder = {"mae": "blocks.", "mage": "blocks.", "palette": "denoise_fn.input_blocks."}[done.experiment.golden]
    decoder = {"mae": "decoder_", "mage": "decoder_", "palette": "denoise_fn.output_blocks."}[done.experiment.golden]
    assert not any(name.startswith(encoder) for name in same)
    assert all(name in same for name in found if name.startswith(decoder))
