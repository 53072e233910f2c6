"""The membership attack as a step of a pipeline hands it on: what kfp's own executor writes, read back."""

import pytest
from kfp import dsl, local


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def attack(metrics: dict, membership: dsl.Output[dsl.ClassificationMetrics]):
    """Show the attack on the original model."""
    from i2i_unlearn.pipeline import step_outputs

    step_outputs.show_membership(metrics, "teacher", membership)


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """`shown(audits)`: the artifact's metadata after the step has run in a process of its own."""
    monkeypatch.chdir(tmp_path)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "outputs"))
    return lambda audits: attack(metrics={"audits": audits}).outputs["membership"].metadata


def test_curve_matrix_and_status_survive_the_executor(shown):
    audit = {
        "status": "blind",
        "why": "it does not tell the original",
        "curves": {"teacher": {"fpr_loss": [0.0, 0.1, 1.0], "tpr_loss": [0.0, 0.6, 1.0]}},
        "facts": {"num_members": 30, "num_others": 10},
    }
    metadata = shown({"membership": audit})
    assert metadata["status"] == "blind"
    assert [point["recall"] for point in metadata["confidenceMetrics"]] == [0.0, 0.6, 1.0]
    assert [row["row"] for row in metadata["confusionMatrix"]["rows"]] == [[18, 12], [1, 9]]
