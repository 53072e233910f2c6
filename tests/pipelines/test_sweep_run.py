"""The sweep pipeline run on this machine: the compiled package, its artifacts and its runs in MLflow."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.config.sections import EvaluateConfig, SweepConfig, UnlearnConfig
from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.pipeline.local.runner import run_package
from i2i_unlearn.sweeps import run as sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a dozen processes that import torch

ROOT = Path(__file__).parents[2]
STEPS = {"num_steps": 4, "checkpoint_every_steps": 2, "warmup_steps": 1}
POINTS = {"objectives": "encoder_l2, epsilon_constraint", "alphas": "0.5", "epsilons": "0.5"}


@pytest.fixture(scope="module")
def world(tmp_path_factory, taught):
    """A checkout with tiny numbers, the package compiled from it, and a run of that package elsewhere."""
    checkout, home = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("home")
    for name in ("components", "pipelines", "mlflow"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    params = taught.params(
        cluster={"requests_folder": str(taught.requests)},
        unlearn=STEPS,
        pretrain={"num_steps": 6},
        snapshot={"source": str(taught.unrecorded_teacher)},  # it was trained with more steps
        evaluate={"max_images": 8, "num_bootstrap": 10},
        register={"experiment": "sweeps"},
    )
    (checkout / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    program = [sys.executable, "-m", "i2i_unlearn.cli.main", "pipeline", "compile", "--pipeline", "sweep"]
    subprocess.run([*program, "--out", "sweep.yaml"], cwd=checkout, check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        patch.setenv("I2I_UNLEARN_HMAC_KEY_FILE", taught.key)
        given = {"images": taught.images, **POINTS}
        folder = run_package(checkout / "sweep.yaml", [f"{key}={value}" for key, value in given.items()], home / "runs")
    return home, folder, params


def test_every_point_is_computed_and_shown_in_the_interface(world):
    _, folder, _ = world
    shown = sorted(folder.glob("for-loop-1-iteration-*/sweep-point"))
    assert len(shown) == 2
    for step in shown:
        assert (step / "report").read_text().lstrip().startswith("<!doctype html")
        assert (step / "decision").read_text().startswith("## ")
        assert not list(step.rglob("*.safetensors"))  # weights stay in the folder of points


def test_the_table_has_all_points_and_the_page_is_an_artifact(world):
    _, folder, _ = world
    table = json.loads((folder / "pareto/table/points.json").read_text())
    assert [point["name"] for point in table["points"]] == ["encoder_l2 alpha 0.5", "epsilon_constraint epsilon 0.5"]
    assert table["landmarks"]["reference"] is not None
    assert (folder / "pareto/page").read_text() == (folder / "pareto/table/pareto.html").read_text()
    shown = json.loads((folder / "pareto/executor_output.json").read_text())
    assert shown["artifacts"]["page"]["artifacts"][0]["metadata"]["num_points"] == 2


def test_the_run_in_mlflow_holds_the_page_and_a_nested_run_for_each_point(world):
    from mlflow import MlflowClient

    home, _, _ = world
    client = MlflowClient(tracking_uri=f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("sweeps")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"sweep", "encoder_l2 alpha 0.5", "epsilon_constraint epsilon 0.5"}
    parent = runs.pop("sweep")
    assert {"pareto.html", "points.json"} <= {file.path for file in client.list_artifacts(parent.info.run_id)}
    for run in runs.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["gate"] in ("pass", "fail", "undecided")
        assert {"forgetting_db", "retention_db", "gap_db"} <= set(run.data.metrics)


def test_the_command_sweep_finds_the_points_of_the_pipeline_for_they_are_the_same(world, taught):
    """One code path: settings, weights and evaluation of both doors have the same digests."""
    home, folder, params = world
    settings = {
        "unlearn": UnlearnConfig.from_params(params).model_dump(mode="json"),
        "evaluate": EvaluateConfig.from_params(params, policies=read_policies(ROOT / "mlflow/policies")).model_dump(
            mode="json"
        ),
    }
    inputs = (folder / "split/splits", folder / "snapshot/teacher/model", folder / "reference/reference")
    config = SweepConfig(**POINTS, num_workers=1)
    facts = sweep.run(taught.images, *inputs, home / "artifacts/sweep", config, settings)
    assert (facts["num_points"], facts["computed"]) == (2, 0)
