"""A tiny project that all tests share: 16 x 16 images of three kinds, and what each stage makes of them."""

import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[1]

TINY: dict[str, Any] = {
    "request": {"largest_share": 1.0},
    "num_threads": 1,
    "operator_patch_size": 4,
    "holdout_fraction": 0.25,
    "split": {"requests": ["all-b"], "unseen_target_fraction": 0.0},
    "pretrain": {
        "image_size": 16,
        "architecture": {
            "patch_size": 4,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "decoder_hidden_size": 32,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 64,
            "initializer_range": 0.1,
        },
        "num_steps": 200,  # 2 s: enough to complete the waves
        "batch_size": 16,
        "average_decay": 0.0,
        "learning_rate": 0.004,
        "warmup_steps": 5,
        "checkpoint_every_steps": 50,
    },
    "unlearn": {
        "objective": "encoder_l2",
        "alpha": 2.0,
        "noise_covariance": "identity",
        "noise_mean": "zero",
        "learning_rate": 0.001,
        "num_steps": 30,
        "batch_size": 16,
        "warmup_steps": 3,
        "num_noise_draws": 16,
        "checkpoint_every_steps": 10,
    },
    # The images are too few for these, which costs nothing; what they find is tested in tests/evaluation/audits.
    "evaluate": {"policy": "forgotten", "audits": {"run": ["membership", "linear_probe", "perturbation"]}},
}
"""What differs from params.yaml."""

REQUEST = {
    "schema_version": 1,
    "id": "all-b",
    "received": "2026-01-01",
    "due": "2026-02-01",
    "basis": "test",
    "selector": {"labels": ["b"]},
}
IMAGES_PER_LABEL = 40


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, section by section."""
    result = copy.deepcopy(dict(base))
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if nested else value
    return result


def tiny_params(**changes: Any) -> dict[str, Any]:
    """The content of a params.yaml with small numbers."""
    return merged(merged(yaml.safe_load((ROOT / "params.yaml").read_text()), TINY), changes)


def pixels_of(label: str, number: int) -> np.ndarray:
    """A grey 16 x 16 image: a: rows, b: columns, c: rings; each with its own phase, brightness and grain."""
    rng = np.random.default_rng([ord(label), number])
    y, x = np.mgrid[:16, :16]
    wave = {"a": y, "b": x, "c": np.hypot(y - 7.5, x - 7.5)}[label]
    image = 128 + 90 * np.sin(wave * 0.9 + rng.uniform(0, 6)) + rng.normal(0, 8, (16, 16)) + rng.uniform(-20, 20)
    return image.clip(0, 255).astype(np.uint8)


def write_images(folder: Path, labels: str = "abc", count: int = IMAGES_PER_LABEL, name: str = "tiny") -> Path:
    """Image shards in `folder`."""
    from i2i_unlearn.data.images.shards import Record, write_shards
    from i2i_unlearn.data.importers.embedded import stored_png

    records = (
        Record(f"{label}-{number}", label, stored_png(pixels_of(label, number)))
        for number in range(count)
        for label in labels
    )
    write_shards(records, folder, name)
    return folder


@dataclass(frozen=True)
class Project:
    """Where the inputs of the stages lie, and how their settings are made."""

    folder: Path

    @property
    def images(self) -> str:
        return str(self.folder / "data/images")

    @property
    def requests(self) -> str:
        return str(self.folder / "data/forget")

    @property
    def key(self) -> str:
        return str(self.folder / "hmac.key")

    def artifact(self, name: str) -> Path:
        return self.folder / "artifacts" / name

    @property
    def splits(self) -> Path:
        return self.artifact("splits")

    @property
    def teacher(self) -> Path:
        return self.artifact("teacher/model")

    @property
    def unrecorded_teacher(self) -> Path:
        """The same weights without the summary that says how the original was trained: any recipe's steps will do."""
        return self.artifact("unrecorded/model")

    def params(self, **changes: Any) -> dict[str, Any]:
        """Content of params.yaml; paths lie in this project."""
        own = {
            "checkpoint_uri": str(self.folder / "checkpoints"),
            "snapshot": {"source": str(self.folder / "artifacts/original/model")},
        }
        return merged(tiny_params(**own), changes)

    def config(self, section: str, **changes: Any) -> Any:
        """The settings of one stage; `changes` are keys of its section or shared ones."""
        from i2i_unlearn.config.base import SHARED_KEYS
        from i2i_unlearn.config.sections import CONFIGS

        shared = {key: changes.pop(key) for key in list(changes) if key in SHARED_KEYS}
        # The recipe of the reference is in the section pretrain.
        own = {"count", "models", "seed_offset", "num_workers", "num_processes"}
        recipe = {key: changes.pop(key) for key in list(changes) if section == "reference" and key not in own}
        nested = {"pretrain": recipe} if recipe else {}
        return CONFIGS[section].from_params(self.params(**shared, **nested, **{section: changes}))

    def split(self, out: Path, **changes: Any) -> Path:
        from i2i_unlearn.stages import split

        split.run(self.images, self.requests, out, self.config("split", **changes), hmac_key_file=self.key)
        return out

    def unlearn(self, out: Path, *, splits: Path | None = None, teacher: Path | None = None, **changes: Any) -> Any:
        from i2i_unlearn.stages import unlearn

        config = self.config("unlearn", **changes)
        return unlearn.run(self.images, splits or self.splits, teacher or self.teacher, out, config)


def make_project(folder: Path) -> Project:
    """Images, the request to forget every b, and a key."""
    project = Project(folder)
    write_images(folder / "data/images")
    (folder / "data/forget").mkdir()
    (folder / "data/forget/all-b.yaml").write_text(yaml.safe_dump(REQUEST))
    # A fixed key: the session's artifacts then are the same bytes whenever they are made.
    (folder / "hmac.key").write_text(hashlib.sha256(b"tests").hexdigest() + "\n")
    return project


@pytest.fixture(scope="session")
def bare_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Inputs alone: nothing was run."""
    return make_project(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def taught(bare_project: Project) -> Project:
    """Split, pretrained and snapshot. Read it, do not write to it."""
    from i2i_unlearn.stages import pretrain, snapshot

    project = bare_project
    project.split(project.splits)
    pretrain.run(project.images, project.artifact("original"), project.config("pretrain"))
    snapshot.run(project.artifact("teacher"), project.config("snapshot"))
    shutil.copytree(project.teacher, project.unrecorded_teacher)
    return project


@pytest.fixture(scope="session")
def tiny(taught: Project) -> Project:
    """Every stage up to `reference` was run. Read it, do not write to it."""
    from i2i_unlearn.stages import reference

    taught.unlearn(taught.artifact("unlearned"))
    reference.run(
        taught.images, taught.splits, taught.teacher, taught.artifact("reference"), taught.config("reference")
    )
    return taught


@pytest.fixture(scope="session")
def damage_images() -> Callable[..., str]:
    """`damage_images(project, folder, splits, keep=("forget",))`: images of which only those roles can be read."""

    def damage(project: Project, folder: Path, splits: Path, *, keep: tuple[str, ...]) -> str:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from i2i_unlearn.data.split.manifest import read_manifest

        roles = read_manifest(splits / "manifest.parquet").rows["role"]
        table = pq.read_table(f"{project.images}/tiny.parquet")
        images = zip(table["image"].to_pylist(), roles, strict=True)
        kept = pa.array([image if role in keep else b"gone" for image, role in images], pa.binary())
        place = table.schema.get_field_index("image")
        folder.mkdir()
        damaged = table.set_column(place, table.schema.field(place), kept)
        pq.write_table(damaged, folder / "tiny.parquet")
        return str(folder)

    return damage


@pytest.fixture(scope="session")
def params_with() -> Callable[..., dict[str, Any]]:
    """`params_with(unlearn={"alpha": 1})`: the content of a tiny params.yaml with changes."""
    return tiny_params


@pytest.fixture(scope="session")
def images_written() -> Callable[..., Path]:
    """`images_written(folder, labels="abc", count=40)`: shards of tiny images."""
    return write_images


@pytest.fixture(scope="session")
def project_made() -> Callable[[Path], Project]:
    """`project_made(folder)`: a tiny project of one's own, to write to."""
    return make_project


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Any]:
    """`tiny_model(seed=0, **architecture)`: random weights, 16 x 16 pixels, patch 4."""

    def make(seed: int = 0, *, image_size: int = 16, num_channels: int = 1, **architecture: Any) -> Any:
        import torch

        from i2i_unlearn.models import family_named

        return (
            family_named("mae")
            .create(
                {**TINY["pretrain"]["architecture"], **architecture},
                image_size=image_size,
                num_channels=num_channels,
                generator=torch.Generator().manual_seed(seed),
            )
            .eval()
        )

    return make


@pytest.fixture(scope="session")
def mlflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the one MLflow database of the session: creating one takes seconds. See tests/registry/world.py."""
    return tmp_path_factory.mktemp("mlflow")


# --- the command line as processes of their own ---

SERVER = """
import json, os, resource, signal, sys, traceback
from i2i_unlearn.cli import main as cli
from i2i_unlearn.stages import pretrain, reference, snapshot, split, unlearn

def end_at(moment):
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event == moment["event"] and moment["contains"] in " ".join(map(str, arguments[:2])):
            count += 1
            if count == moment.get("nth", 1):
                os.kill(os.getpid(), moment.get("signal", signal.SIGKILL))
    sys.addaudithook(hook)

def child(job):
    os.chdir(job["folder"])
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(job["environment"])
    sys.argv = ["i2i-unlearn", *job["arguments"]]
    if job["file_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_bytes"], job["file_bytes"]))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has a job in the background ignore it
    if job["moment"]:
        end_at(job["moment"])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if not pid:
        code = child(job)
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Negative: the signal that ended it."""
    out: str
    err: str


class CommandLine:
    """Runs `i2i-unlearn`, each call in a process of its own.

    The processes are forked from one that has imported torch already, which takes seconds.
    """

    def __init__(self, scratch: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "100"}
        self._scratch = scratch
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(
        self,
        folder: Path,
        *arguments: str | Path,
        moment: Mapping[str, Any] | None = None,
        file_bytes: int = 0,
        **environment: str,
    ) -> Ended:
        """Run in `folder`.

        `moment` = {event, contains, nth, signal}: send the process a signal (SIGKILL) right before the nth audit event
        of that name with that text in its arguments. `file_bytes`: no file may grow larger: a disk that is full.
        """
        job = {
            "folder": str(folder),
            "arguments": list(map(str, arguments)),
            "moment": moment,
            "file_bytes": file_bytes,
            "environment": environment,
            "out": str(self._scratch / "out"),
            "err": str(self._scratch / "err"),
        }
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        return Ended(code, (self._scratch / "out").read_text(), (self._scratch / "err").read_text())

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait(timeout=60)
        self._server.stdout.close()


@pytest.fixture(scope="session")
def command_line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """`command_line(folder, "unlearn", "--out", out)` -> code, out, err."""
    line = CommandLine(tmp_path_factory.mktemp("command-line"))
    yield line
    line.close()


@pytest.fixture(scope="session")
def params_written() -> Callable[..., Path]:
    """`params_written(folder, project, **changes)`: write the params.yaml of a tiny project."""

    def write(folder: Path, project: Project, **changes: Any) -> Path:
        path = folder / "params.yaml"
        path.write_text(yaml.safe_dump(project.params(**changes), sort_keys=False))
        return path

    return write
