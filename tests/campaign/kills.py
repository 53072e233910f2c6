"""SIGKILL at random moments over every command: the next call goes on or says what to do, and nothing is lost."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import yaml

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
}
"""Files that end with the bytes of the undisturbed run."""


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


def _kill(chain: Chain, command: str, moment: float) -> dict[str, object]:
    project = chain.put_back(command)
    killed = run(project, *CHAIN[command], kill_after=moment)
    again = run(project, *CHAIN[command])
    faults = _faults(chain, project, command, again)
    if command == "request add":
        if again.is_one_line and "already" in again.err:  # it was filed before the kill, which is said
            faults = [fault for fault in faults if not fault.startswith("the next call ends")]
        if "w-1" not in yaml.safe_load((project / "params.yaml").read_text())["split"]["requests"]:
            faults.append("the request is filed and not active")
    return {"killed": killed.code < 0, "code": again.code, "faults": faults}


def _faults(chain: Chain, project: Path, command: str, again: Ended) -> list[str]:
    faults = [f"half file {path.relative_to(project)}" for path in _half_written(project)]
    if again.code:
        faults.append(f"the next call ends with {again.code}: {again.err.strip()[-300:]}")
        return faults
    for name in SAME.get(command, ()):
        found, expected = project / name, chain.after(command) / name
        if not found.is_file():
            faults.append(f"{name} is missing")
        elif found.read_bytes() != expected.read_bytes():
            faults.append(f"{name} differs from the undisturbed run")
    if (project / "mlflow.db").exists():
        faults += _registry_faults(chain, project, command)
    return faults


def _registry_faults(chain: Chain, project: Path, command: str) -> list[str]:
    """Versions and champions are as many as after the undisturbed run; ledger and registry agree."""
    faults = []
    found, expected = versions_and_champions(project), versions_and_champions(chain.after(command))
    if found != expected:
        faults.append(f"versions and champions: {found} instead of {expected}")
    if (project / "promotions.jsonl").exists():
        for check in (("registry", "ledger", "verify"), ("registry", "check")):
            ended = run(project, *check)
            if ended.code:
                faults.append(f"{' '.join(check)}: {(ended.err or ended.out).strip()[-300:]}")
    return faults


def _half_written(project: Path) -> list[Path]:
    """Folders alone: a file that was being written may stay under a hidden name, which nothing reads."""
    return [path for path in project.rglob(".*") if (".new." in path.name or ".old." in path.name) and path.is_dir()]
