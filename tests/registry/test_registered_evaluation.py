"""What MLflow shows of an evaluation besides its numbers: tables, plots, pictures, and each of them once."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from i2i_unlearn.config.sections import RegisterConfig
from i2i_unlearn.registry import tracking
from i2i_unlearn.registry.evaluation_record import tables
from i2i_unlearn.stages import register
from i2i_unlearn.support import files
from tests.registry.world import Folders, killed_at


def score(value: float) -> dict:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "num_images": 50}


def audit(status: str, **measures: float) -> dict:
    """An audit as `evaluation/audits/run.py` gives it."""
    curve = {"fpr_loss": [0.0, 0.2, 1.0], "tpr_loss": [0.0, 0.5, 1.0]}
    return {
        **{"status": status, "why": f"{status} for a reason", "facts": {}},
        "models": {name: {"auc_loss": score(value)} for name, value in measures.items()},
        "differences": {},
        "curves": dict.fromkeys(measures, curve),
    }


LINE = {
    **{"name": "forgetting", "measure": "forget hole_psnr_db", "value": -1.5, "low": None, "high": None},
    **{"bound": "at most -1.2", "outcome": "pass", "why": "it is below", "threshold_why": "t", "otherwise": "o"},
}


@pytest.fixture
def audited(folders) -> Folders:
    """The evaluation with audits, a line of the gate and the picture sheet."""
    evaluation = folders.root / "evaluation"
    metrics, verdicts = (files.read_json(evaluation / name) for name in ("metrics.json", "verdicts.json"))
    audits = {
        "membership": audit("measured", teacher=0.7, unlearned=0.5),
        "linear_probe": audit("blind", unlearned=0.5),
        "recovery": audit("undecided"),
    }
    files.write_json(evaluation / "metrics.json", {**metrics, "selected_by": "label", "audits": audits})
    verdicts["verdicts"]["forgotten"]["lines"] = [LINE]
    files.write_json(evaluation / "verdicts.json", verdicts)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(evaluation / "pictures" / "before_after.png")
    return folders


def images_of(run_id: str) -> list[str]:
    return [file.path for file in MlflowClient().list_artifacts(run_id, "images")]


def load(name: str, run_id: str, config: RegisterConfig):
    mlflow.set_tracking_uri(None)  # as the environment says
    mlflow.set_experiment(config.experiment)
    return mlflow.load_table(f"tables/{name}.json", run_ids=[run_id])


def test_tables_come_back_row_by_row(audited, config):
    run_id = register.run(*audited.inputs, config)["run_id"]
    scores = load("scores", run_id, config)
    assert list(scores.columns) == ["model", "set", "metric", "value", "low", "high", "num_images"]
    first = scores.iloc[0]
    assert (first["model"], first["set"], first["metric"], first["value"]) == ("unlearned", "forget", "hole_psnr_db", 8)
    assert set(scores["model"]) == {"unlearned", "unlearned-teacher", "unlearned/reference"}
    audits = load("audits", run_id, config)
    assert audits[["audit", "status", "model"]].to_numpy().tolist() == [
        ["linear_probe", "blind", "unlearned"],
        ["membership", "measured", "teacher"],
        ["membership", "measured", "unlearned"],
        ["recovery", "undecided", ""],
    ]
    (check,) = load("checks", run_id, config).to_dict("records")
    assert (check["policy"], check["decides"], check["outcome"], check["value"]) == ("forgotten", True, "pass", -1.5)


def test_only_an_audit_that_tells_something_has_metrics_and_every_one_a_tag(audited, config):
    run = MlflowClient().get_run(register.run(*audited.inputs, config)["run_id"])
    assert {key: value for key, value in run.data.metrics.items() if key.startswith("audits/")} == {
        f"audits/membership/{model}/auc_loss{end}": pytest.approx(value + shift)
        for model, value in (("teacher", 0.7), ("unlearned", 0.5))
        for end, shift in (("", 0), ("_low", -0.1), ("_high", 0.1))
    }
    assert {key: value for key, value in run.data.tags.items() if key.startswith("audit.")} == {
        "audit.membership": "measured",
        "audit.linear_probe": "blind",
        "audit.recovery": "undecided",
    }


def test_plots_are_files_of_their_own_and_the_picture_sheet_is_among_the_images(audited, config, tmp_path):
    run_id = register.run(*audited.inputs, config)["run_id"]
    folder = Path(MlflowClient().download_artifacts(run_id, "plots", str(tmp_path)))
    assert {path.name for path in folder.iterdir()} == {"loss.svg", "scores.svg", "membership_roc.svg"}
    for path in folder.iterdir():
        assert "var(" not in path.read_text()
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    (full,) = [path for path in images_of(run_id) if path.endswith(".png")]
    shown = Image.open(MlflowClient().download_artifacts(run_id, full, str(tmp_path)))
    assert np.asarray(shown).tolist() == np.arange(64).reshape(8, 8).tolist()


def test_what_a_killed_registration_left_is_not_logged_twice(audited, config):
    with killed_at("create_version"):
        register.run(*audited.inputs, config)
    run_id = register.run(*audited.inputs, config)["run_id"]
    assert len(load("scores", run_id, config)) == 4
    assert len(images_of(run_id)) == 2  # as it is, and small


def test_a_table_whose_tag_was_lost_is_found_again(audited, config):
    run_id = register.run(*audited.inputs, config)["run_id"]
    client = MlflowClient()
    client.delete_tag(run_id, "mlflow.loggedArtifacts")
    record = tracking.Record(client, run_id, "")
    rows = tables(files.read_json(audited.root / "evaluation/metrics.json"), {"deciding": "", "verdicts": {}})["scores"]
    record.log_table(rows, "tables/scores.json")
    assert len(load("scores", run_id, config)) == len(rows) == 4
    assert json.loads(client.get_run(run_id).data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "tables/scores.json", "type": "table"}
    ]
