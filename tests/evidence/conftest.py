"""One request carried out on images of named persons, by the real stages, and a bundle that tells of it."""

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from i2i_unlearn.config.sections import CONFIGS, EvaluateConfig
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.evidence import envelope
from i2i_unlearn.evidence.keys import create_keys
from i2i_unlearn.stages import evaluate, evidence, pretrain, snapshot, split, unlearn
from tests.conftest import ROOT, Project, pixels_of

LABELS = {"a": "rows-of-Mustermann", "b": "columns-of-Mustermann", "c": "rings-of-Mustermann"}
SUBJECTS = {"a": "Erika Mustermann", "b": "Jean Dupont", "c": "Jane Doe"}
NOTE, BASIS, REASON = "call Jean on +33 1 23 45", "Jean withdrew", "Jean is in hospital"
REQUEST = {
    "schema_version": 1,
    "id": "withdrawn-1",
    "received": "2026-01-01",
    "due": "2026-03-01",
    "extension_reason": REASON,
    "basis": BASIS,
    "note": NOTE,
    "selector": {"subjects": [SUBJECTS["b"]]},
}
NUM_PER_LABEL = 16


def records() -> list[Record]:
    """Images whose ids, labels and subjects cannot be anything else."""
    return [
        Record(f"passport/{label}-{number:04d}.png", LABELS[label], stored_png(pixels_of(label, number)), subject)
        for label, subject in SUBJECTS.items()
        for number in range(NUM_PER_LABEL)
    ]


@dataclass
class World:
    """Folders as the stages left them, keys, and a way to make bundles of them."""

    project: Project
    keys: Path
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def public(self) -> Path:
        return self.keys / "ecdsa/public.pem"

    @property
    def model(self) -> Path:
        return self.project.artifact("unlearned/model")

    def inputs(self) -> dict[str, Any]:
        """Fields of `evidence.Inputs`."""
        return {
            "evaluation": self.project.artifact("evaluation"),
            "unlearned": self.project.artifact("unlearned"),
            "teacher": self.project.teacher,
            "splits": self.project.splits,
            "requests": self.project.requests,
            "policies": self.policies,
            "params": self.params(),
        }

    def params(self) -> dict[str, Any]:
        return self.project.params(**SETTINGS)

    def bundle(self, out: Path, algorithm: str = "ecdsa", *, with_weights: bool = False, **changes: Any) -> Path:
        """Make a bundle; `changes` are fields of `evidence.Inputs` and `evidence.Origin`, or `signer`."""
        signer = changes.pop("signer", None) or evidence.Signer(key=self.keys / algorithm / "private.pem")
        inputs = {key: changes.pop(key, value) for key, value in self.inputs().items()}
        origin = evidence.Origin(**{"repository": self.project.folder, **changes})
        evidence.run(evidence.Inputs(**inputs), origin, signer, out, with_weights=with_weights)
        return out


def statement_of(bundle: Path) -> dict[str, Any]:
    """What is signed, its signature not looked at."""
    return dict(json.loads(envelope.open_envelope((bundle / "evidence.json").read_bytes()).payload))


SETTINGS: dict[str, Any] = {
    "split": {"requests": ["withdrawn-1"], "proxy_labels": [LABELS["c"]]},
    "pretrain": {"num_steps": 5},
    "unlearn": {"num_steps": 3, "warmup_steps": 1},
    # The report and its pictures hold the images; nothing of them may reach a bundle.
    "evaluate": {"max_images": 6, "num_bootstrap": 20, "show_forget_images": True, "audits": {"run": ["membership"]}},
}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Read it, do not write to it."""
    folder = tmp_path_factory.mktemp("evidence-world")
    project = Project(folder)
    write_shards(records(), folder / "data/images", "tiny")
    (folder / "data/forget").mkdir()
    (folder / "data/forget/withdrawn-1.yaml").write_text(yaml.safe_dump(REQUEST))
    (folder / "hmac.key").write_text(hashlib.sha256(b"evidence").hexdigest() + "\n")
    made = World(project, folder / "keys", read_policies(ROOT / "mlflow/policies"))
    sections = {name: made.params() for name in ("split", "pretrain", "snapshot", "unlearn")}
    config = {name: CONFIGS[name].from_params(params) for name, params in sections.items()}
    split.run(project.images, project.requests, project.splits, config["split"], hmac_key_file=project.key)
    pretrain.run(project.images, project.artifact("original"), config["pretrain"])
    snapshot.run(project.artifact("teacher"), config["snapshot"])
    unlearn.run(project.images, project.splits, project.teacher, project.artifact("unlearned"), config["unlearn"])
    evaluate.run(
        project.images,
        project.splits,
        project.teacher,
        project.artifact("unlearned"),
        "",
        project.artifact("evaluation"),
        EvaluateConfig.from_params(made.params(), policies=made.policies),
    )
    for algorithm in ("ecdsa", "ed25519"):
        create_keys(made.keys / algorithm, algorithm, None)
    create_keys(made.keys / "other", "ecdsa", None)
    return made


@pytest.fixture(scope="session")
def with_weights(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that holds the weights. Read it, do not write to it."""
    return world.bundle(tmp_path_factory.mktemp("bundles") / "with-weights", with_weights=True)


@pytest.fixture(scope="session")
def without_weights(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that does not."""
    return world.bundle(tmp_path_factory.mktemp("bundles") / "without-weights")


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """`copied(bundle)`: a copy elsewhere, to be harmed."""

    numbers = itertools.count()

    def copy(bundle: Path) -> Path:
        return Path(shutil.copytree(bundle, tmp_path / f"copy-{next(numbers)}"))

    return copy
