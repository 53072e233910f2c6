"""A tiny teacher and unlearned model, folders as the stages write them, and what is registered of them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig
from i2i_unlearn.data.split.manifest import SplitManifest, write_manifest
from i2i_unlearn.evaluation.findings import FINDINGS_VERSION
from i2i_unlearn.models import load_model
from i2i_unlearn.models.mae import MaskedAutoencoder
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float, to_uint8
from i2i_unlearn.registry import tracking
from i2i_unlearn.support import files

SIZE = 8
ARCHITECTURE = {
    "patch_size": 4,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
    "initializer_range": 0.1,
}
OPERATOR = {"operator": "half_left", "keep_fraction": 0.5, "operator_patch_size": 4, "seed": 0, "model": ""}
SAMPLE_ID = "mnist-train-0815"
SUBJECT = "Otto Beispiel"
FORGET_IMAGE = bytes(range(200, 256)) * 3


def make_model(folder: Path, seed: int) -> Path:
    """A model directory with random weights."""
    generator = torch.Generator().manual_seed(seed)
    MaskedAutoencoder.create(ARCHITECTURE, image_size=SIZE, num_channels=1, generator=generator).save(folder)
    return folder


def use_store(home: Path, patch: pytest.MonkeyPatch) -> str:
    """Have everything that asks MLflow use the database in `home`, as nobody in particular; its address."""
    uri = f"sqlite:///{home}/mlflow.db"
    for name in ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_USERNAME", "I2I_UNLEARN_ACTOR", "I2I_UNLEARN_NOTIFY_URL"):
        patch.delenv(name, raising=False)
    patch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@contextmanager
def killed_at(method: str) -> Iterator[None]:
    """What is run here ends when it comes to this method of `tracking.Server`."""

    def end(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking.Server, method, end)
        with pytest.raises(KeyboardInterrupt):
            yield


@dataclass(frozen=True)
class Folders:
    """What the stages before `register` leave behind."""

    root: Path
    teacher: Path

    @property
    def inputs(self) -> tuple[Path, Path, Path, Path]:
        return self.root / "evaluation", self.root / "unlearned", self.teacher, self.root / "splits"

    @property
    def model(self) -> Path:
        return self.root / "unlearned" / "model"

    def evaluate(self, outcome: str = "pass", psnr: float = 8.0) -> "Folders":
        """Write an evaluation that the gate judges so."""
        evaluation = self.root / "evaluation"
        (evaluation / "pictures").mkdir(parents=True, exist_ok=True)
        score = {"value": psnr, "low": psnr - 0.1, "high": psnr + 0.1, "num_images": 10}
        metrics = {
            "schema_version": FINDINGS_VERSION,
            "audits": {},
            "selected_by": "",
            "holdout_alike": False,
            "operator": "half_left",
            "keep_fraction": 0.5,
            "models": {"teacher": files.digest_folder(self.teacher), "unlearned": files.digest_folder(self.model)},
            "sets": {name: {"num_images": 10, "num_scored": 10} for name in ("forget", "retain")},
            "manifest_sha256": files.digest_file(self.root / "splits" / "manifest.parquet"),
            "scores": {"unlearned": {"forget": {"hole_psnr_db": score, "own_loss": {**score, "low": None}}}},
            "differences": {"unlearned-teacher": {"forget": {"hole_psnr_db": score}}},
            "ratios": {"unlearned/reference": {"retain": {"own_loss": score}}},
            "cost": {"unlearn_s": 3.0, "reference_s": None},
        }
        verdict = {"policy": "forgotten", "outcome": outcome, "lines": []}
        verdicts = {
            "schema_version": FINDINGS_VERSION,
            "deciding": "forgotten",
            "verdicts": {"forgotten": verdict},
            "sentence": "A sentence.",
        }
        files.write_json(evaluation / "metrics.json", metrics)
        files.write_json(evaluation / "verdicts.json", verdicts)
        files.write_json(evaluation / "summary.json", {"gate": outcome})
        (evaluation / "report.html").write_text("<html>report</html>")
        (evaluation / "pictures" / "retain.png").write_bytes(b"picture")
        (evaluation / "evidence.npz").write_bytes(FORGET_IMAGE)
        return self


def make_folders(
    root: Path, teacher: Path, *, seed: int = 1, requests: tuple[str, ...] = ("digit-3",), erased: tuple[str, ...] = ()
) -> Folders:
    """Split and unlearned model, and a passing evaluation. Other seeds are other weights."""
    rows = pd.DataFrame(
        {
            "shard": "digits-00000.parquet",
            "row": range(4),
            "part": "train",
            "role": ["forget", "retain", "retain", "retain"],
            "hmac_id": [f"{number:032x}" for number in range(4)],
            "hmac_bytes": ["b" * 32, "", "", ""],
        }
    )
    (root / "splits").mkdir(parents=True)
    manifest = root / "splits" / "manifest.parquet"
    facts = ({"digits-00000.parquet": "f" * 64}, requests, erased, "d" * 64, "e" * 32)
    write_manifest(SplitManifest(rows, *facts), manifest)
    model = make_model(root / "unlearned" / "model", seed)
    summary = {
        "objective": "encoder_l2",
        "seconds": 3.0,
        "model_sha256": files.digest_folder(model),
        "teacher_sha256": files.digest_folder(teacher),
        "manifest_sha256": files.digest_file(manifest),
    }
    files.write_json(root / "unlearned" / "summary.json", summary)
    steps = [{"step": step, "total": 1.0 / step, "forget": 0.5} for step in range(1, 4)]
    (root / "unlearned" / "steps.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    return Folders(root, teacher).evaluate()


COMPLETE = """
import importlib
import sys
import numpy as np
from mlflow import pyfunc

model = pyfunc.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2])))
print(importlib.import_module(sys.argv[4]).__file__)
"""


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 1), dtype=np.uint8)


def completed_by(model_dir: Path) -> np.ndarray:
    """What the model itself makes of `images`."""
    model, generator = load_model(model_dir), torch.Generator().manual_seed(0)
    images_BCHW = to_float(torch.from_numpy(images()).permute(0, 3, 1, 2))
    visible_BHW = make_operator("half_left", 0.5, 4).draw(len(images_BCHW), SIZE, SIZE, generator)
    with torch.inference_mode():
        completed_BCHW = model.complete(images_BCHW, visible_BHW, generator=generator)
    return to_uint8(completed_BCHW).permute(0, 2, 3, 1).numpy()


def complete_elsewhere(uri: str, folder: Path, module: str = "i2i_unlearn") -> tuple[np.ndarray, str]:
    """Load and run a registered model in another process, somewhere else, with pickle forbidden.

    Returns what it made of `images`, and the file that `module` was imported from.
    """
    folder.mkdir()
    np.save(folder / "in.npy", images())
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:mlflow.pyfunc", "-c", COMPLETE, uri, "in.npy", "out.npy", module],
        cwd=folder,
        env={**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / "out.npy"), done.stdout.strip().splitlines()[-1]


@dataclass(frozen=True)
class Registered:
    """Version 1 is the original and champion, version 2 an unlearned model that passed and is candidate."""

    config: RegisterConfig

    @property
    def name(self) -> str:
        return self.config.model_name

    def alias(self, alias: str) -> str | None:
        """Number of the version that has it."""
        with tracking.connect() as server:
            return server.number_at_alias(self.name, alias) or None

    def set_alias(self, alias: str, number: str) -> None:
        with tracking.connect() as server:
            server.set_alias(server.version(self.name, number), alias)

    def drop_alias(self, alias: str) -> None:
        with tracking.connect() as server:
            server.drop_alias(self.name, alias)

    def version(self, number: str) -> tracking.Version:
        with tracking.connect() as server:
            return server.version(self.name, number)

    def tags(self, number: str) -> dict[str, str]:
        return dict(self.version(number).tags)

    def tag(self, number: str, **tags: str) -> None:
        """Tag a version by hand, as a person can in the MLflow UI."""
        with tracking.connect() as server:
            server.tag(server.version(self.name, number), tags)

    def copy(self, number: str, **tags: str) -> str:
        """A further version with the files of another and other tags; return its number."""
        client = MlflowClient()
        old = client.get_model_version(self.name, number)
        new = client.create_model_version(self.name, old.source, run_id=old.run_id, tags={**old.tags, **tags})
        return str(new.version)


def write_params(folder: Path, config: RegisterConfig, promote_config: PromoteConfig) -> Path:
    """A params.yaml with what the commands about the registry read."""
    own = config.model_dump(mode="json")
    shared = {key: own.pop(key) for key in OPERATOR}
    path = folder / "params.yaml"
    path.write_text(json.dumps({**shared, "register": own, "promote": promote_config.model_dump(mode="json")}))
    return path
