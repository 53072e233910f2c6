"""A sweep in MLflow: a run with nested runs, logged once, widened without a second copy."""

import pytest
from mlflow import MlflowClient

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.sweeps import record
from i2i_unlearn.sweeps import table as pareto
from tests.registry.world import use_store
from tests.support.says import says
from tests.sweeps.point_folders import write_point


@pytest.fixture
def swept(tmp_path):
    """`swept(alphas, forgetting)`: the folder of a sweep's table."""

    def make(name, *points):
        folders = [
            write_point(tmp_path / name / str(number), value, -abs(value) / 10, -0.01, alpha=alpha)
            for number, (alpha, value) in enumerate(points)
        ]
        pareto.run(folders, tmp_path / f"table-{name}")
        return tmp_path / f"table-{name}"

    return make


@pytest.fixture
def client(mlflow_home, monkeypatch):
    use_store(mlflow_home, monkeypatch)
    return MlflowClient()


@pytest.fixture
def experiment(tmp_path):
    """A name that no other test uses."""
    return f"sweeps-{tmp_path.name}"


def runs(client, experiment):
    """(parents, children by name)."""
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    return parents, {run.info.run_name: run for run in found if run not in parents}


def test_a_sweep_is_a_run_and_every_point_a_nested_run_recorded_once(client, swept, experiment):
    table = swept("a", (0.1, -0.5), (1.0, -3.0))
    facts = record.run(table, experiment)
    assert record.run(table, experiment) == {**facts, "recorded": "already"}
    (parent,), children = runs(client, experiment)
    assert (facts["run_id"], facts["recorded"]) == (parent.info.run_id, "new")
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"pareto.html", "points.json"}
    assert parent.data.params["unlearn.num_steps"] == "30"
    assert "unlearn.alpha" not in parent.data.params
    assert parent.data.tags["num_points"] == "2"
    assert set(children) == {"encoder_l2 alpha 0.1", "encoder_l2 alpha 1"}
    run = children["encoder_l2 alpha 1"]
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.data.params["unlearn.alpha"] == "1"
    assert (run.data.metrics["forgetting_db"], run.data.metrics["forgetting_db_low"]) == (-3.0, -3.05)
    assert (run.data.metrics["retention_db"], run.data.metrics["gap_db"]) == (-0.3, -1.0)
    assert (run.data.tags["gate"], run.data.tags["front"]) == ("pass", "forgetting most, as unseen")
    assert run.info.status == parent.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "forgetting_db")) == 1


def test_a_wider_sweep_adds_runs_and_corrects_the_front(client, swept, experiment):
    first = record.run(swept("a", (1.0, -3.0)), experiment)
    _, before = runs(client, experiment)
    assert before["encoder_l2 alpha 1"].data.tags["front"] == "forgetting most, as unseen"
    second = record.run(swept("b", (1.0, -3.0), (0.5, -2.0)), experiment)
    (parent,), after = runs(client, experiment)
    assert first["run_id"] == second["run_id"] == parent.info.run_id
    assert set(after) == {"encoder_l2 alpha 1", "encoder_l2 alpha 0.5"}
    assert after["encoder_l2 alpha 1"].info.run_id == before["encoder_l2 alpha 1"].info.run_id
    assert after["encoder_l2 alpha 1"].data.tags["front"] == "forgetting most"
    assert parent.data.tags["num_points"] == "2"


def test_points_are_nested_in_the_run_that_kubeflow_opened(client, swept, experiment, monkeypatch):
    opened = client.create_run(client.create_experiment(f"kubeflow-{experiment}"), run_name="pipeline")
    monkeypatch.setenv("MLFLOW_RUN_ID", opened.info.run_id)
    record.run(swept("a", (0.1, -0.5)), experiment)
    (parent,), children = runs(client, f"kubeflow-{experiment}")
    assert parent.info.run_id == opened.info.run_id
    assert parent.info.status == "RUNNING"  # whoever opened it ends it
    assert [run.data.tags["mlflow.parentRunId"] for run in children.values()] == [opened.info.run_id]


def test_a_folder_without_a_table_is_refused(client, tmp_path):
    with says(UserError, "points.json: no such file"):
        record.run(tmp_path, "sweeps")
