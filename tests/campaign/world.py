"""A small project from its pictures to its evidence, and commands in processes forked from one that has torch."""

import os
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from i2i_unlearn.data.importers.embedded import stored_png
from tests.conftest import ROOT, pixels_of, tiny_params

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "100"}
MODEL = "tiny"
POLICY = {
    "schema_version": 1,
    "name": "easy",
    "asks": "nothing",
    "if_passed": "This says nothing.",
    "lines": [
        {
            "name": "anything",
            "measure": {"model": "unlearned", "set": "forget", "metric": "hole_psnr_db"},
            "at_least": -100,
            "if_below": "no number",
            "why": "so that versions can be promoted",
        }
    ],
}
SETTINGS: dict[str, Any] = {
    "checkpoint_uri": "checkpoints",
    "split": {"requests": []},
    "pretrain": {"num_steps": 20, "checkpoint_every_steps": 4},
    "snapshot": {"source": "artifacts/original/model"},
    "unlearn": {"num_steps": 20, "checkpoint_every_steps": 4},
    "reference": {"count": 1},
    "evaluate": {"policy": "easy", "max_images": 6, "num_bootstrap": 10, "audits": {"run": []}},
    "register": {"model_name": MODEL, "experiment": MODEL},
}
CHAIN: dict[str, tuple[str, ...]] = {
    "data import": ("data", "import", "pictures", "--out", "data", "--source-split", "train"),
    "request add": ("request", "add", "w-1", "--label", "b", "--basis", "test"),
    "split": ("split",),
    "pretrain": ("pretrain",),
    "register the original": ("register", "--original", "artifacts/original/model", "--by", "campaign"),
    "snapshot": ("snapshot",),
    "unlearn": ("unlearn",),
    "reference": ("reference",),
    "evaluate": ("evaluate",),
    "register": ("register", "--by", "campaign"),
    "promote": ("registry", "promote", "--by", "campaign", "--reason", "test"),
    "evidence": ("evidence", "create", "--key", "keys/private.pem"),
}
"""Every command of a project's life, in order."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Negative: the signal that ended it."""
    out: str
    err: str
    seconds: float

    @property
    def is_one_line(self) -> bool:
        """Whether it was refused as a user should be: one line, the last; before it only progress and notices."""
        lines = self.err.splitlines()
        said = [number for number, line in enumerate(lines) if line.startswith("i2i-unlearn: ")]
        return self.code in (1, 3) and said == [len(lines) - 1] and "Traceback" not in self.err


def run(folder: Path, *arguments: str, kill_after: float | None = None) -> Ended:
    """Run a command in a project, in a process group of its own; SIGKILL it after so many seconds if it still runs."""
    scratch = folder.parent / f".{folder.name}.said"
    scratch.mkdir(exist_ok=True)
    begun = time.monotonic()
    pid = os.fork()
    if not pid:
        os._exit(_child(folder, arguments, scratch))
    with suppress(OSError):  # the child does so too: whichever comes first
        os.setpgid(pid, pid)
    code = _wait(pid, begun, kill_after)
    out, err = ((scratch / name).read_text(errors="replace") for name in ("out", "err"))
    return Ended(code, out, err, time.monotonic() - begun)


def _child(folder: Path, arguments: Sequence[str], scratch: Path) -> int:
    from i2i_unlearn.cli import main as cli

    os.setpgid(0, 0)
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(scratch / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w") for number in (1, 2))  # pytest's own go elsewhere
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_REGISTRY_URI", "I2I_UNLEARN_HMAC_KEY_FILE"):
        os.environ.pop(name, None)
    os.environ.update(ENVIRONMENT)
    sys.argv = ["i2i-unlearn", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _wait(pid: int, begun: float, kill_after: float | None) -> int:
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if kill_after is not None and time.monotonic() - begun >= kill_after:
            os.killpg(pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        time.sleep(0.002)


def preload() -> None:
    """Import what commands import, so that a fork begins where the work does."""
    import mlflow.tracking  # noqa: F401
    import torch

    from i2i_unlearn.evidence import gather  # noqa: F401
    from i2i_unlearn.stages import evaluate, pretrain, promote, reference, register, split, unlearn  # noqa: F401

    torch.set_num_threads(1)


def write_project(folder: Path, per_label: int = 12) -> None:
    """Pictures, settings, a policy that all models pass, keys: what there is before the first command."""
    for label in "abc":
        (folder / "pictures" / label).mkdir(parents=True)
        for number in range(per_label):
            (folder / "pictures" / label / f"{number:03}.png").write_bytes(stored_png(pixels_of(label, number)))
    (folder / "params.yaml").write_text(yaml.safe_dump(tiny_params(**SETTINGS), sort_keys=False))
    shutil.copytree(ROOT / "mlflow", folder / "mlflow")
    (folder / "mlflow/policies/easy.yaml").write_text(yaml.safe_dump(POLICY))
    for command in (("data", "key"), ("keys", "create", "--out", "keys")):
        ended = run(folder, *command)
        if ended.code:
            raise RuntimeError(f"{command}: {ended.err}")


@dataclass(frozen=True)
class Chain:
    """A project whose whole life was run once, undisturbed, and how it was before and after each command."""

    folder: Path
    seconds: dict[str, float]

    def put_back(self, moment: str) -> Path:
        """The project as it was before a command, at the place where it always was; "end" = after all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self._kept(moment), self.folder, symlinks=True)
        return self.folder

    def before(self, command: str) -> Path:
        """A copy of the project as it was before the command. Read it, do not write to it."""
        return self._kept(command)

    def after(self, command: str) -> Path:
        """A copy of the project as the undisturbed command left it. Read it, do not write to it."""
        names = [*CHAIN, "end"]
        return self._kept(names[names.index(command) + 1])

    def _kept(self, moment: str) -> Path:
        return self.folder.parent / "kept" / moment.replace(" ", "-")


def run_chain(folder: Path) -> Chain:
    """Write a project into `folder`/project and run all commands once.

    Raises:
        RuntimeError: one of them failed.
    """
    preload()
    project = folder / "project"
    project.mkdir(parents=True)
    write_project(project)
    chain = Chain(project, {})
    for name, arguments in CHAIN.items():
        shutil.copytree(project, chain._kept(name), symlinks=True)
        ended = run(project, *arguments)
        if ended.code:
            raise RuntimeError(f"{name}: exit code {ended.code}: {ended.err}")
        chain.seconds[name] = ended.seconds
    shutil.copytree(project, chain._kept("end"), symlinks=True)
    return chain


@contextmanager
def registry(folder: Path) -> Iterator[sqlite3.Connection]:
    """The project's MLflow database, read-only."""
    connection = sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()


def versions_and_champions(folder: Path) -> tuple[int, int]:
    """How many versions of the model there are, and how many of them are champion."""
    with registry(folder) as database:
        (versions,) = database.execute("SELECT count(*) FROM model_versions WHERE name = ?", (MODEL,)).fetchone()
        (champions,) = database.execute(
            "SELECT count(*) FROM registered_model_aliases WHERE name = ? AND alias = 'champion'", (MODEL,)
        ).fetchone()
    return versions, champions
