"""The demo on few steps and few images: refused by the gate it still shows everything, and a repeat does nothing.

What it records is what `dvc repro` would.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.support.files import digest_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # seven processes that import torch

ROOT = Path(__file__).parents[2]
QUICK = {
    "pretrain": {"num_steps": 10},
    "unlearn": {"num_steps": 3, "alpha": 0.0001, "learning_rate": 1e-6},  # nothing is forgotten: the gate must refuse
    "evaluate": {"policy": "forgotten", "max_images": 30, "num_bootstrap": 20},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    for name in ("dvc.yaml", "data.dvc", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    for name in ("src", "mlflow"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"num_threads": 1}
    for section, changes in QUICK.items():
        params[section] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def run(project: Path, *command: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "I2I_UNLEARN_HMAC_KEY_FILE")}
    here = Path(sys.executable).parent
    return subprocess.run(
        [here / command[0], *command[1:]],
        cwd=project, env=environment | {"OMP_NUM_THREADS": "1", "PATH": f"{here}{os.pathsep}{environment['PATH']}"},
        text=True, capture_output=True, check=False,
    )  # fmt: skip


def test_a_refused_demo_shows_table_and_reason_and_its_repeat_finds_nothing_to_do(project):
    first = run(project, "i2i-unlearn", "demo")
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    rows = [line.split()[0] for line in lines if " … " in line]
    assert rows == ["to", "to", "never"]
    assert any(line.startswith("FAILED forgotten") for line in lines)
    assert "MLflow: digits-inpainter version 2, no alias" in lines
    assert any(
        line.startswith("Not promoted: version 2: the gate did not pass (policy forgotten: fail)") for line in lines
    )
    assert "Report: artifacts/evaluation/report.html" in lines
    assert (project / "artifacts/evaluation/report.html").is_file()
    assert not any("Nothing to do" in line for line in lines)
    assert oct((project / ".secrets/hmac.key").stat().st_mode)[-3:] == "600"

    before = {path: path.stat().st_mtime_ns for path in (project / "artifacts").rglob("*") if path.is_file()}
    again = run(project, "i2i-unlearn", "demo")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == "Nothing to do: everything was up to date."
    assert "MLflow: digits-inpainter version 2, no alias" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_dvc_finds_nothing_to_do_after_it_and_makes_the_same_weights(project, tmp_path):
    run(project, "i2i-unlearn", "demo")  # if it is the first test
    assert "up to date" in run(project, "dvc", "status").stdout
    again = tmp_path / "again"
    shutil.copytree(
        project, again, ignore=shutil.ignore_patterns("artifacts", "checkpoints", "dvc.lock", "cache", "tmp")
    )
    repro = run(again, "dvc", "repro", "--no-run-cache", "reference", "unlearn")
    assert repro.returncode == 0, repro.stderr
    names = ["original/model", "unlearned/model", "reference/1/model"]
    weights = [[digest_folder(folder / "artifacts" / name) for name in names] for folder in (project, again)]
    assert weights[0] == weights[1]
