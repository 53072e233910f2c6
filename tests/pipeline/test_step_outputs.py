"""What a component shows in the Kubeflow UI, beside its stage's own output."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from kfp import dsl

from i2i_unlearn.pipeline import step_outputs
from i2i_unlearn.report.verdict import decision_markdown

METRICS = {
    "sets": {"forget": {"num_images": 16, "num_scored": 12}},
    "scores": {
        "teacher": {"forget": {"hole_psnr_db": {"value": 9.5, "low": 9.0, "high": 10.0}, "kid_x": {"value": None}}},
        "unlearned": {"retain": {"hole_psnr_db": {"value": float("nan")}, "own_loss": {"value": 0.25}}},
    },
}


def line(name: str, outcome: str, why: str) -> dict:
    """A line of a verdict, as the gate writes it."""
    measure = "forget hole_psnr_db, unlearned minus teacher"
    told = {"bound": "at most -0.8", "why": f"{measure}: {why}", "threshold_why": "measured", "otherwise": "it recalls"}
    return {"name": name, "measure": measure, "value": -1.5, "low": -1.6, "high": -1.4, "outcome": outcome, **told}


ASKS = {"asks": "it is tested", "if_passed": "It passes.", "preset": ""}
VERDICTS = {
    "deciding": "forgotten",
    "verdicts": {
        "as_unseen": {**ASKS, "outcome": "undecided", "lines": [line("spread", "undecided", "too few")]},
        "forgotten": {**ASKS, "outcome": "pass", "lines": [line("forgetting", "pass", "-1.5 is below -0.8")]},
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
    assert step_outputs.show_evaluation(str(tmp_path), report, decision, scores) == "pass"
    assert (tmp_path / "a").read_text() == "<!doctype html>"
    shown = (tmp_path / "b").read_text()
    assert shown == decision_markdown(METRICS, VERDICTS)  # the words of the report
    assert shown.startswith("## ✓ Passed: It passes.")
    assert "12 forget images were scored" in shown
    assert shown.index("| forgetting") < shown.index("Policy `as_unseen`: undecided")
    assert scores.values == {"teacher.forget.hole_psnr_db": 9.5, "unlearned.retain.own_loss": 0.25}


AUDIT = {
    "status": "measured",
    "why": "it tells the teacher",
    "models": {"teacher": {"auc_loss": {"value": 0.7}}, "unlearned": {"auc_loss": {"value": 0.55}}},
    "curves": {
        "teacher": {"fpr_loss": [0.0, 0.1, 1.0], "tpr_loss": [0.0, 0.6, 1.0]},
        "unlearned": {"fpr_loss": [0.0, 0.5, 1.0], "tpr_loss": [0.0, 0.6, 1.0]},
    },
    "facts": {"num_members": 30, "num_others": 10},
}


def membership_shown(audits: dict, model: str = "teacher") -> dict:
    """Metadata of the real artifact after it was filled."""
    shown = dsl.ClassificationMetrics(name="membership", uri="x", metadata={})
    step_outputs.show_membership({**METRICS, "audits": audits}, model, shown)
    return shown.metadata


def test_the_membership_attack_becomes_a_roc_curve_and_a_confusion_matrix_by_hand():
    shown = membership_shown({"membership": AUDIT})
    assert [(p["falsePositiveRate"], p["recall"], p["confidenceThreshold"]) for p in shown["confidenceMetrics"]] == [
        (0.0, 0.0, 1.0),
        (0.1, 0.6, 0.9),
        (1.0, 1.0, 0.0),
    ]
    # at tpr .6, fpr .1: 18 of 30 members are found, and 1 of 10 others is taken for one
    assert [row["row"] for row in shown["confusionMatrix"]["rows"]] == [[18, 12], [1, 9]]
    assert [name["displayName"] for name in shown["confusionMatrix"]["annotationSpecs"]] == [
        "forget images",
        "images never trained on",
    ]
    assert shown["confusion_at"] == "best balanced accuracy (threshold 0.9)"


def test_an_attack_that_is_blind_or_was_not_made_says_so():
    blind = {**AUDIT, "status": "blind", "why": "it does not tell the teacher"}
    assert membership_shown({"membership": blind})["status"] == "blind"
    lacking = {**AUDIT, "status": "undecided", "why": "too few images", "models": {}, "curves": {}, "facts": {}}
    assert membership_shown({"membership": lacking}) == {
        **{"model": "teacher", "attack": "loss", "status": "undecided", "why": "too few images"}
    }
    assert membership_shown({}) == {"model": "teacher", "status": "not made"}


def test_a_long_curve_keeps_its_ends_and_few_points():
    rates = [at / 999 for at in range(1000)]
    audit = {**AUDIT, "curves": {"teacher": {"fpr_loss": rates, "tpr_loss": rates}}}
    points = membership_shown({"membership": audit})["confidenceMetrics"]
    assert len(points) == 200
    assert (points[0]["recall"], points[-1]["recall"]) == (0.0, 1.0)


def test_only_audits_that_tell_something_become_numbers():
    audits = {"membership": AUDIT, "linear_probe": {**AUDIT, "status": "blind"}}
    assert dict(step_outputs.flat_audits({"audits": audits})) == {
        "teacher.membership.auc_loss": 0.7,
        "unlearned.membership.auc_loss": 0.55,
    }


@pytest.mark.parametrize(("message", "rows"), [(None, 0), ("Task exit-handler-1 failed.", 1)])
def test_final_state_tells_the_run_and_after_a_failure_the_error(tmp_path, message, rows):
    status = SimpleNamespace(state="FAILED", pipeline_job_resource_name="run-7", error_message=message)
    state = Shown(tmp_path / "state")
    step_outputs.show_final_state(status, state, requests="digit-3")
    assert state.metadata["state"] == "FAILED"
    assert state.metadata["run"] == "run-7"
    assert (tmp_path / "state").read_text().count("| error |") == rows


def test_an_empty_address_leaves_the_environments_server(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///old.db")
    step_outputs.use_tracking_server("")
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///old.db"
    step_outputs.use_tracking_server("http://mlflow:5000")
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_without_an_open_mlflow_run_nothing_is_streamed(monkeypatch):
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    assert step_outputs.live_curves("") is None


def test_showing_results_loads_neither_torch_nor_matplotlib():
    program = "import sys, i2i_unlearn.pipeline.step_outputs, i2i_unlearn.report.verdict; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "matplotlib", "mlflow", "kfp"} & set(loaded)
