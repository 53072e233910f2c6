"""What a component shows in the Kubeflow UI, beside its stage's own output."""

import json
import os
from types import SimpleNamespace

import pytest

from i2i_unlearn import kfp_artifacts

METRICS = {
    "scores": {
        "teacher": {"forget": {"hole_psnr_db": {"value": 9.5, "low": 9.0, "high": 10.0}, "kid_x": {"value": None}}},
        "unlearned": {"retain": {"hole_psnr_db": {"value": float("nan")}, "own_loss": {"value": 0.25}}},
    }
}
VERDICTS = {
    "deciding": "noise",
    "verdicts": {
        "like_unseen": {"outcome": "undecided", "lines": [{"name": "spread", "outcome": "undecided", "why": "few"}]},
        "noise": {"outcome": "pass", "lines": [{"name": "forgetting", "outcome": "pass", "why": "-1.5 dB"}]},
    },
    "sentence": "They differ.",
}


class Shown(SimpleNamespace):
    """An output artifact of one file."""

    def __init__(self, path) -> None:
        super().__init__(path=str(path), metadata={})


class Logged:
    """Metrics that were logged."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def log_metric(self, metric: str, value: float) -> None:
        self.values[metric] = value


def test_evaluation_becomes_html_markdown_and_metrics_and_the_outcome_is_the_deciding_policys(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    (tmp_path / "verdicts.json").write_text(json.dumps(VERDICTS))
    (tmp_path / "report.html").write_text("<!doctype html>")
    report, decision, scores = Shown(tmp_path / "a"), Shown(tmp_path / "b"), Logged()
    assert kfp_artifacts.show_evaluation(str(tmp_path), report, decision, scores) == "pass"
    assert (tmp_path / "a").read_text() == "<!doctype html>"
    lines = (tmp_path / "b").read_text().splitlines()
    assert lines[:3] == ["# Gate: pass", "", "They differ."]
    assert lines.index("## Policy `noise`: pass") < lines.index("## Policy `like_unseen`: undecided")
    assert "| forgetting | pass | -1.5 dB |" in lines
    assert scores.values == {"teacher.forget.hole_psnr_db": 9.5, "unlearned.retain.own_loss": 0.25}


@pytest.mark.parametrize(("message", "rows"), [(None, 0), ("Task exit-handler-1 failed.", 1)])
def test_final_state_tells_the_run_and_after_a_failure_the_error(tmp_path, message, rows):
    status = SimpleNamespace(state="FAILED", pipeline_job_resource_name="run-7", error_message=message)
    state = Shown(tmp_path / "state")
    kfp_artifacts.show_final_state(status, state, requests="digit-3")
    assert state.metadata["state"] == "FAILED"
    assert state.metadata["run"] == "run-7"
    assert (tmp_path / "state").read_text().count("| error |") == rows


def test_an_empty_address_leaves_the_environments_server(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///old.db")
    kfp_artifacts.use_tracking_server("")
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///old.db"
    kfp_artifacts.use_tracking_server("http://mlflow:5000")
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_without_an_open_mlflow_run_nothing_is_streamed(monkeypatch):
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    assert kfp_artifacts.live_curves("") is None
