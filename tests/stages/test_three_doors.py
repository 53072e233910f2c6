"""Three doors, one room: `dvc repro`, the commands and the Kubeflow pipeline give the same unlearned weights.

The whole way once on tiny settings, in a copy of the project: the pipeline is compiled from the copy's params.yaml and
then run from the compiled file alone, in a folder that holds nothing else of the project.
"""

import io
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.split.codes import create_key
from i2i_unlearn.evidence.keys import create_keys
from i2i_unlearn.evidence.verify import verify
from i2i_unlearn.support.files import digest_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a dozen processes that import torch

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

TINY = {
    "num_threads": 1,
    "operator_patch_size": 2,
    "split": {"requests": ["tiny-b"]},
    "pretrain": {
        "image_size": 8,
        "architecture": {
            "patch_size": 2,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "decoder_hidden_size": 16,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 32,
        },
        "num_steps": 6,
        "batch_size": 8,
        "warmup_steps": 1,
    },
    "unlearn": {"num_steps": 5, "batch_size": 8, "warmup_steps": 1, "num_noise_draws": 8},
    "reference": {"count": 1},
    "evaluate": {"policy": "lenient", "max_images": 16, "batch_size": 16, "num_bootstrap": 20},
    "register": {"model_name": "tiny", "experiment": "tiny"},
}

REQUEST = {
    "schema_version": 1,
    "id": "tiny-b",
    "received": "2026-01-01",
    "due": "2026-02-01",
    "basis": "test",
    "selector": {"labels": ["b"]},
}


def merged(base: dict, changes: dict) -> dict:
    """`base` with the leaves of `changes` put in."""
    return base | {
        key: merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }


def lenient(policy: dict) -> dict:
    """A policy that a model of a few steps passes, so that the way to the champion can be tested."""
    forgetting = policy["lines"][0]
    return policy | {"name": "lenient", "lines": [forgetting | {"at_most": 1000.0}]}


def environment(folder: Path) -> dict[str, str]:
    """The caller's, without what would lead a test outside its folder or make it slow."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_", "I2I_UNLEARN_"))}
    return kept | {
        "PATH": f"{BIN}{os.pathsep}{kept['PATH']}",
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / ".dvc-site"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }


def run(folder: Path, *command: str) -> str:
    """Run a command of the virtual environment in `folder`; return what it printed."""
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def encoded(label: str, number: int) -> bytes:
    """A grey 8x8 picture: `a` is a horizontal ramp, `b` a vertical one, `c` a diagonal; `number` is the brightness."""
    rows, columns = np.indices((8, 8))
    ramp = {"a": columns, "b": rows, "c": (rows + columns) / 2}[label]
    pixels = (ramp * 24 + number).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="png")
    return file.getvalue()


def make_project(folder: Path) -> None:
    """A copy of the project with tiny numbers and tiny images."""
    for name in ("components", "pipelines", "mlflow", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.yaml.tmp"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    params = merged(yaml.safe_load((ROOT / "params.yaml").read_text()), TINY)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    forgotten = yaml.safe_load((ROOT / "mlflow/policies/forgotten.yaml").read_text())
    (folder / "mlflow/policies/lenient.yaml").write_text(yaml.safe_dump(lenient(forgotten)))
    records = (Record(f"{label}-{number}", label, encoded(label, number)) for number in range(30) for label in "abc")
    write_shards(records, folder / "data/images", "tiny")
    (folder / "data/forget").mkdir()
    (folder / "data/forget/tiny-b.yaml").write_text(yaml.safe_dump(REQUEST))
    create_key(str(folder / ".secrets/hmac.key"))
    create_keys(folder / ".secrets/evidence", "ecdsa", None)


@dataclass(frozen=True)
class Doors:
    """Where each door left the unlearned model, and the folder of the pipeline's run."""

    dvc: Path
    verbs: Path
    pipeline: Path
    pipeline_run: Path
    pipeline_home: Path
    printed: str


def open_dvc(project: Path) -> Path:
    run(project, "dvc", "repro", "unlearn")
    return project / "artifacts/unlearned"


VERBS = """
import shlex, sys
from i2i_unlearn.cli.main import app
for line in sys.argv[1:]:
    app(shlex.split(line), standalone_mode=False)
"""


def open_verbs(project: Path) -> Path:
    """The commands one after the other, in one process to import torch once."""
    out = "artifacts/by-verbs"
    inputs = f"--splits {out}/splits --teacher {out}/teacher/model"
    lines = [f"snapshot --out {out}/teacher", f"split --out {out}/splits", f"unlearn {inputs} --out {out}/unlearned"]
    run(project, "python", "-c", VERBS, *lines)
    return project / out / "unlearned"


def open_pipeline(project: Path, home: Path) -> str:
    original = project / "artifacts/original/model"
    run(project, "i2i-unlearn", "pipeline", "compile", "--out", str(home / "package.yaml"))
    run(home, "i2i-unlearn", "register", "--original", str(original), "--params", str(project / "params.yaml"))
    for name in ("data", ".secrets"):
        (home / name).symlink_to(project / name)
    options = ["--runner", "subprocess", "--package", "package.yaml", "--out", "runs"]
    params = ["--param", f"model={original}", "--param", "promote=on pass"]
    return run(home, "i2i-unlearn", "pipeline", "run", *options, *params)


@pytest.fixture(scope="module")
def doors(tmp_path_factory) -> Doors:
    project, home = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("elsewhere")
    make_project(project)
    run(project, "dvc", "init", "--no-scm", "-q")
    run(project, "dvc", "repro", "pretrain")
    with ThreadPoolExecutor(2) as pool:  # most of the time goes into importing torch: two cores, half the wait
        printed = pool.submit(open_pipeline, project, home)
        dvc, verbs = open_dvc(project), open_verbs(project)  # not at once: they share a folder of checkpoints
    said = printed.result()
    (pipeline_run,) = (home / "runs").glob("*/unlearning-*")
    return Doors(
        dvc=dvc,
        verbs=verbs,
        pipeline=pipeline_run / "unlearn/unlearned",
        pipeline_run=pipeline_run,
        pipeline_home=home,
        printed=said,
    )


def test_all_three_doors_give_the_same_unlearned_weights(doors):
    weights = [(door / "model/model.safetensors").read_bytes() for door in (doors.dvc, doors.verbs, doors.pipeline)]
    assert weights[0] == weights[1] == weights[2]
    assert len({digest_folder(door / "model") for door in (doors.dvc, doors.verbs, doors.pipeline)}) == 1


def test_the_weights_are_not_those_of_the_teacher(doors):
    teacher = doors.pipeline_run / "snapshot/teacher/model/model.safetensors"
    assert teacher.read_bytes() != (doors.pipeline / "model/model.safetensors").read_bytes()


def test_the_pipeline_leaves_the_artifacts_that_the_user_interface_shows(doors):
    evaluate = doors.pipeline_run / "evaluate"
    assert (evaluate / "report").read_text().lstrip().lower().startswith("<!doctype html")
    assert (evaluate / "decision").read_text().startswith("## ✓ Passed: ")
    shown = json.loads((evaluate / "executor_output.json").read_text())
    metadata = shown["artifacts"]["scores"]["artifacts"][0]["metadata"]
    assert {"teacher.forget.hole_psnr_db", "unlearned.retain.hole_psnr_db"} <= set(metadata)
    assert str(evaluate / "evaluation/report.html") in doors.printed.replace("runs/", f"{doors.pipeline_home}/runs/")


def test_the_pipeline_promotes_what_passed_and_writes_its_final_state(doors):
    lines = (doors.pipeline_home / "promotions.jsonl").read_text().splitlines()
    intent, done = map(json.loads, lines)
    assert (intent["version"], done["event"], done["of"]) == ("2", "done", intent["id"])
    state = json.loads((doors.pipeline_run / "final-state/executor_output.json").read_text())
    assert state["artifacts"]["state"]["artifacts"][0]["metadata"]["state"] == "SUCCEEDED"


def test_the_pipeline_signs_evidence_that_somebody_with_the_public_key_can_check(doors):
    key = doors.pipeline_home / ".secrets/evidence/public.pem"
    found = verify(doors.pipeline_run / "evidence/bundle", key, doors.pipeline / "model")
    assert found.broken == []
    assert (found.said.gate.outcome, found.said.registered.version) == ("pass", "2")


def test_the_pipeline_records_the_settings_that_it_used(doors):
    output = json.loads((doors.pipeline_run / "check/executor_output.json").read_text())
    used = output["parameterValues"]["settings"]
    assert used["unlearn"]["num_steps"] == 5
    assert used["snapshot"]["source"].endswith("artifacts/original/model")
