"""SIGKILL at random moments over every command: the next call goes on or says what to do, and nothing is lost."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml

from i2i_unlearn.project.dvc_file import dvc_file
from i2i_unlearn.project.version import VERSION_FILE, version_line
from i2i_unlearn.support.keeper import GRACE_S
from tests.campaign.world import CHAIN, Chain, Ended, run, versions_and_champions

WEIGHTS = ("model/model.safetensors", "model/config.json")
SAME: dict[str, tuple[str, ...]] = {
    "data import": ("data/images/pictures.parquet",),
    "request add": ("data/forget/w-1.yaml", "params.yaml"),
    "split": ("artifacts/splits/manifest.parquet",),
    "pretrain": tuple(f"artifacts/original/{name}" for name in WEIGHTS),
    "snapshot": tuple(f"artifacts/teacher/{name}" for name in WEIGHTS),
    "unlearn": tuple(f"artifacts/unlearned/{name}" for name in WEIGHTS),
    "reference": tuple(f"artifacts/reference/1/{name}" for name in WEIGHTS),
    "evaluate": ("artifacts/evaluation/metrics.json", "artifacts/evaluation/verdicts.json"),
    "forget": (
        "artifacts/splits/manifest.parquet",
        *(f"artifacts/{model}/{name}" for model in ("teacher", "unlearned", "reference/1") for name in WEIGHTS),
    ),
}
"""Files that end with the bytes of the undisturbed run."""


DONE_BEFORE = {"request add": "already", "evidence": "is not empty and is kept"}
"""What the next call says where the command was done before the kill."""


def run_kills(chain: Chain, number: int, seed: int, tell: Callable[[str], None] = print) -> list[dict[str, object]]:
    """Kill `number` commands, in turn, at random moments of their lives; what was found wrong, one row per kill."""
    rng = random.Random(seed)
    rows = []
    for count in range(number):
        command = list(CHAIN)[count % len(CHAIN)]
        moment = rng.uniform(0.0, chain.seconds[command])
        rows.append(_kill(chain, command, moment) | {"kill": count, "command": command, "after_s": round(moment, 3)})
        tell(json.dumps(rows[-1]))
    return rows


def run_long_kills(
    chain: Chain, command: str, number: int, rng: random.Random, tell: Callable[[str], None] = print
) -> list[dict[str, object]]:
    """Kill a command of `LONG` at random moments; its processes end too; the same command again ends well.

    Raises:
        RuntimeError: the undisturbed run failed.
    """
    prepared, arguments = LONG[command]
    before = prepared(chain)
    undisturbed = run(before, *arguments)
    if undisturbed.code:
        raise RuntimeError(f"{command}: exit code {undisturbed.code}: {undisturbed.err}")
    expected = versions_and_champions(before)
    rows = []
    for count in range(number):
        moment = rng.uniform(0.0, undisturbed.seconds)
        project = prepared(chain)
        killed = run(project, *arguments, kill_after=moment)
        time.sleep(GRACE_S + 1)
        faults = [f"still runs: {line}" for line in _running_in(project)]
        again = run(project, *arguments)
        faults += _faults(chain, project, command, again, expected)
        rows.append({"killed": killed.code < 0, "code": again.code, "faults": faults})
        rows[-1] |= {"kill": count, "command": command, "after_s": round(moment, 3)}
        tell(json.dumps(rows[-1]))
    return rows


def _with_package(chain: Chain) -> Path:
    """The project after its original model was registered, with a compiled pipeline and the key to sign evidence."""
    project = chain.put_back("snapshot")
    shutil.copytree(project / "keys", project / ".secrets/evidence")
    compiled = run(project, "pipeline", "compile", "--out", "package.yaml")
    if compiled.code:
        raise RuntimeError(f"pipeline compile: {compiled.err}")
    return project


def _with_dvc(chain: Chain) -> Path:
    """The project with its images and no request, as DVC keeps it."""
    project = chain.put_back("request add")
    (project / "dvc.yaml").write_text(dvc_file(sources=False))
    (project / VERSION_FILE).write_text(version_line())
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=project, check=True)
    return project


LONG: dict[str, tuple[Callable[[Chain], Path], tuple[str, ...]]] = {
    "pipeline run": (
        _with_package,
        ("pipeline", "run", "--package", "package.yaml", "--out", "runs", "--param", "promote=on pass"),
    ),
    "forget": (_with_dvc, ("forget", "w-1", "--label", "b", "--basis", "test")),
}
"""Commands that take a hundred times as long as others: how the project is made ready, and their arguments."""


def _running_in(project: Path) -> list[str]:
    """Command lines of the processes whose current folder is the project."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if Path(os.readlink(process / "cwd")).is_relative_to(project):
                found.append((process / "cmdline").read_text().replace("\0", " ")[:200])
    return found


def _kill(chain: Chain, command: str, moment: float) -> dict[str, object]:
    project = chain.put_back(command)
    killed = run(project, *CHAIN[command], kill_after=moment)
    again = run(project, *CHAIN[command])
    faults = _faults(chain, project, command, again)
    if again.is_one_line and DONE_BEFORE.get(command, "\n") in again.err:
        faults = [fault for fault in faults if not fault.startswith("the next call ends")]
    active = yaml.safe_load((project / "params.yaml").read_text())["split"]["requests"]
    if command == "request add" and "w-1" not in active:
        faults.append("the request is filed and not active")
    return {"killed": killed.code < 0, "code": again.code, "faults": faults}


def _faults(
    chain: Chain, project: Path, command: str, again: Ended, registered: tuple[int, int] | None = None
) -> list[str]:
    faults = [f"half file {path.relative_to(project)}" for path in _half_written(project)]
    if again.code:
        faults.append(f"the next call ends with {again.code}: {again.err.strip()[-300:]}")
        return faults
    for name in SAME.get(command, ()):
        found, expected = project / name, chain.after(command if command in CHAIN else "register") / name
        if not found.is_file():
            faults.append(f"{name} is missing")
        elif found.read_bytes() != expected.read_bytes():
            faults.append(f"{name} differs from the undisturbed run")
    if (project / "mlflow.db").exists():
        faults += _registry_faults(project, registered or versions_and_champions(chain.after(command)))
    return faults


def _registry_faults(project: Path, expected: tuple[int, int]) -> list[str]:
    """Versions and champions are as many as after the undisturbed run; ledger and registry agree."""
    faults = []
    if (found := versions_and_champions(project)) != expected:
        faults.append(f"versions and champions: {found} instead of {expected}")
    if (project / "promotions.jsonl").exists():
        for check in (("registry", "ledger", "verify"), ("registry", "check")):
            ended = run(project, *check)
            if ended.code:
                faults.append(f"{' '.join(check)}: {(ended.err or ended.out).strip()[-300:]}")
    return faults


def _half_written(project: Path) -> list[Path]:
    """Files and folders; but a run of the pipeline never goes on in the folder of another one."""
    hidden = [path for path in project.rglob(".*") if path.relative_to(project).parts[0] != "runs"]
    return [path for path in hidden if ".new." in path.name or ".old." in path.name]
