"""What a component shows in the Kubeflow UI in addition to the outputs of its stage."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kfp import dsl, local

from i2i_unlearn.pipeline import step_outputs
from i2i_unlearn.report.verdict import decision_markdown
from i2i_unlearn.sweeps import table as pareto
from tests.sweeps.point_folders import write_point

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
    found = {"value": -1.5, "low": -1.6, "high": -1.4, "outcome": outcome, "decides": True, "by_rehearsal": False}
    return {"name": name, "measure": measure, **found, **told}


ASKS = {"asks": "it is tested", "if_passed": "It passes.", "preset": ""}
VERDICTS = {
    "deciding": "forgotten",
    "verdicts": {
        "as_unseen": {**ASKS, "outcome": "undecided", "lines": [line("spread", "undecided", "too few")]},
        "forgotten": {**ASKS, "outcome": "pass", "lines": [line("forgetting", "pass", "-1.5 is below -0.8")]},
    },
    "sentence": "They differ.",
}


@dataclass
class Shown:
    """An output artifact: one file, and metrics that are logged."""

    path: str | Path
    metadata: dict[str, Any] = field(default_factory=dict)

    def log_metric(self, metric: str, value: float) -> None:
        self.metadata[metric] = value


def test_evaluation_becomes_html_markdown_and_metrics_and_the_outcome_is_the_deciding_policys(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    (tmp_path / "verdicts.json").write_text(json.dumps(VERDICTS))
    (tmp_path / "report.html").write_text("<!doctype html>")
    report, decision, scores = (Shown(tmp_path / name) for name in "abc")
    assert step_outputs.show_evaluation(str(tmp_path), report, decision, scores) == "pass"
    assert (tmp_path / "a").read_text() == "<!doctype html>"
    shown = (tmp_path / "b").read_text()
    assert shown == decision_markdown(METRICS, VERDICTS)  # the words of the report
    assert shown.startswith("## ✓ Passed: It passes.")
    assert "12 forget images were scored" in shown
    assert shown.index("| forgetting") < shown.index("Policy `as_unseen`: undecided")
    assert scores.metadata == {"teacher.forget.hole_psnr_db": 9.5, "unlearned.retain.own_loss": 0.25}


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


def test_the_calibrated_attack_has_an_artifact_of_its_own_where_it_was_made():
    curves = {
        "teacher": {**AUDIT["curves"]["teacher"], "fpr_calibrated": [0.0, 0.2, 1.0], "tpr_calibrated": [0.0, 1, 1]}
    }

    def shown(audit):
        made = dsl.ClassificationMetrics(name="membership", uri="x", metadata={})
        metrics = {**METRICS, "audits": {"membership": audit}}
        step_outputs.show_membership(metrics, "teacher", made, calibrated=True)
        return made.metadata

    made = shown({**AUDIT, "curves": curves})
    assert made["attack"] == "calibrated"
    assert [row["row"] for row in made["confusionMatrix"]["rows"]] == [[30, 0], [2, 8]]
    why = "needs one retrained reference (reference.count), there is none"
    assert shown({**AUDIT, "facts": {**AUDIT["facts"], "calibrated_left_out": why}}) == {
        **{"model": "teacher", "attack": "calibrated", "status": "n/a", "why": why}
    }


def test_an_attack_that_is_blind_or_was_not_made_says_so():
    blind = {**AUDIT, "status": "blind", "why": "it does not tell the teacher"}
    assert membership_shown({"membership": blind})["status"] == "blind"
    lacking = {**AUDIT, "status": "undecided", "why": "too few images", "models": {}, "curves": {}, "facts": {}}
    assert membership_shown({"membership": lacking}) == {
        **{"model": "teacher", "attack": "loss", "status": "undecided", "why": "too few images"}
    }
    assert membership_shown({}) == {"model": "teacher", "status": "not made"}


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def attack(metrics: dict, membership: dsl.Output[dsl.ClassificationMetrics]):
    """Show the attack on the original model."""
    from i2i_unlearn.pipeline import step_outputs

    step_outputs.show_membership(metrics, "teacher", membership)


def test_what_the_membership_attack_shows_survives_kfp_s_own_executor(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "outputs"))
    audits = {"membership": AUDIT}
    metadata = attack(metrics={"audits": audits}).outputs["membership"].metadata
    shown = membership_shown(audits)
    assert {name: metadata[name] for name in shown} == shown


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


# --- of a sweep ---


@pytest.fixture
def outputs(tmp_path):
    return {name: Shown(str(tmp_path / name)) for name in ("evaluated", "report", "decision", "scores")}


def test_a_point_that_diverged_hands_on_its_reason_but_no_weights_and_shows_it(tmp_path, outputs):
    home = write_point(tmp_path / "point", objective="<b>", diverged="step 3: the loss is not finite")
    (home / "unlearned/model").mkdir(parents=True)
    (home / "unlearned/model/model.safetensors").write_bytes(b"weights")
    facts = {"point": "<b> alpha 0.25", "folder": str(home), "outcome": "diverged", "computed": "new"}
    assert step_outputs.show_point(facts, *outputs.values()) == "diverged"
    assert Path(outputs["decision"].path).read_text() == "## &lt;b&gt; alpha 0.25: training diverged\n"
    assert "&lt;b&gt; alpha 0.25" in Path(outputs["report"].path).read_text()
    assert outputs["evaluated"].metadata == facts
    assert [path.name for path in Path(outputs["evaluated"].path).rglob("*")] == ["point.json"]


def test_the_page_of_a_sweep_is_shown_with_its_facts(tmp_path):
    table, page = Shown(str(tmp_path / "table")), Shown(str(tmp_path / "page"))
    collected = [Shown(str(write_point(tmp_path / name, value))) for name, value in (("a", -1.0), ("b", -2.0))]
    facts = pareto.run(step_outputs.paths(collected), table.path)
    step_outputs.show_sweep(facts, table, page)
    assert Path(page.path).read_text() == (tmp_path / "table/pareto.html").read_text()
    assert table.metadata == page.metadata == facts
