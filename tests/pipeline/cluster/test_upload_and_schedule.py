"""Pipelines that the cluster keeps: versions, recurring runs, custom resources."""

import hashlib

import kfp_server_api as api
import pytest
import yaml

from tests.pipeline.cluster.kfp_stub import ROOT, one_line

PACKAGE = ROOT / "pipelines/unlearning.yaml"
DIGEST = hashlib.sha256(PACKAGE.read_bytes()).hexdigest()


def test_the_first_upload_makes_a_pipeline_and_the_next_a_version(kubeflow, pipeline):
    code, out, _ = pipeline("upload")
    assert code == 0
    assert pipeline("upload", "--version", "2026-02", "--description", "New gate for portraits")[0] == 0
    (made,) = kubeflow.pipelines
    assert made.display_name == "unlearning"
    first, second = kubeflow.versions
    assert (first.display_name, second.display_name) == (DIGEST[:12], "2026-02")
    assert second.description == f"New gate for portraits (sha256 {DIGEST})"
    assert kubeflow.files == [PACKAGE.read_bytes()] * 2
    assert f"/#/pipelines/details/{made.pipeline_id}/version/{first.pipeline_version_id}" in out


def test_the_same_file_is_one_version(kubeflow, pipeline):
    pipeline("upload")
    code, out, _ = pipeline("upload")
    assert code == 0
    assert "exists already" in out
    assert len(kubeflow.versions) == 1


def test_a_version_s_name_does_not_change_its_file(pipeline):
    pipeline("upload", "--version", "v1")
    other = ("--name", "unlearning", "--package", ROOT / "pipelines/registry_check.yaml")
    one_line(pipeline("upload", "--version", "v1", *other), "made of another file")


def test_pipelines_of_one_name_in_two_namespaces_are_two(kubeflow, pipeline):
    for namespace in ("team-a", "team-b", "team-a"):
        assert pipeline("upload", "--namespace", namespace)[0] == 0
    assert [made.namespace for made in kubeflow.pipelines] == ["team-a", "team-b"]


def test_a_schedule_runs_the_check_every_day_and_is_made_once(kubeflow, pipeline):
    command = ("schedule", "--param", "model_name=faces")
    code, out, err = pipeline(*command)
    assert (code, err) == (0, "")
    assert "created" in out
    code, out, _ = pipeline(*command)
    assert code == 0
    assert "exists already, nothing was changed" in out
    (recurring,) = kubeflow.recurring
    assert recurring.display_name == "registry-check"
    assert recurring.trigger.cron_schedule.cron == "0 0 6 * * *"
    assert recurring.mode == "ENABLE"
    assert recurring.no_catchup is True
    assert recurring.max_concurrency == "1"
    assert recurring.runtime_config.parameters == {"model_name": "faces"}
    assert recurring.pipeline_spec["pipeline_spec"]["pipelineInfo"]["name"] == "check-of-registry"


@pytest.mark.parametrize(
    ("first", "other", "said"),
    [
        ([], ["--cron", "0 0 7 * * *"], "with the times '0 0 6 * * *'"),
        ([], ["--param", "model_name=other"], "other parameters"),
        (["--service-account", "runner"], ["--service-account", "other"], "runs as 'runner'"),
    ],
)
def test_a_schedule_of_the_same_name_that_does_something_else_is_told(kubeflow, pipeline, first, other, said):
    pipeline("schedule", *first)
    assert pipeline("schedule", *first)[0] == pipeline("schedule")[0] == 0  # without the option any account is right
    one_line(pipeline("schedule", *other), said)
    assert len(kubeflow.recurring) == 1


def test_a_schedule_that_runs_another_package_is_told(kubeflow, pipeline, tmp_path):
    package, older = ROOT / "pipelines/registry_check.yaml", tmp_path / "older.yaml"
    older.write_text(package.read_text().replace("image: i2i-unlearn:", "image: i2i-unlearn:0.0."))
    assert pipeline("schedule", "--package", older)[0] == 0
    one_line(pipeline("schedule", "--package", package), f"runs another package than {package}")
    assert pipeline("schedule", "--package", older)[0] == 0
    assert len(kubeflow.recurring) == 1


def test_a_schedule_of_an_uploaded_version_is_another_and_one_that_is_not_told_is_not_doubted(kubeflow, pipeline):
    pipeline("schedule")
    (recurring,) = kubeflow.recurring
    recurring.pipeline_spec = None
    assert pipeline("schedule")[0] == 0
    recurring.pipeline_version_reference = api.V2beta1PipelineVersionReference("p", "v")
    assert "runs another package" in pipeline("schedule")[2]


def test_a_schedule_that_is_paused_is_told(kubeflow, pipeline):
    pipeline("schedule")
    (recurring,) = kubeflow.recurring
    recurring.status = "DISABLED"
    one_line(pipeline("schedule"), "exists but is paused")
    recurring.status = "ENABLED"
    assert pipeline("schedule")[0] == 0


@pytest.mark.parametrize("cron", ["0 6 * * *", "daily", "0 0 6 * * *; rm"])
def test_times_that_are_none(kubeflow, pipeline, cron):
    one_line(pipeline("schedule", "--cron", cron), "0 0 6 * * *")
    assert kubeflow.requests == []


@pytest.mark.parametrize("name", ["unlearning", "sweep", "registry_check"])
def test_custom_resources_hold_the_compiled_pipeline(unlearn, tmp_path, name):
    package, out = ROOT / f"pipelines/{name}.yaml", tmp_path / "manifests.yaml"
    code, _, _ = unlearn("pipeline", "manifests", "--package", package, "--out", out, "--namespace", "team-a")
    assert code == 0
    pipeline, version = yaml.safe_load_all(out.read_text())
    spec, platform = yaml.safe_load_all(package.read_text())
    assert [one["kind"] for one in (pipeline, version)] == ["Pipeline", "PipelineVersion"]
    assert {one["apiVersion"] for one in (pipeline, version)} == {"pipelines.kubeflow.org/v2beta1"}
    assert {one["metadata"]["namespace"] for one in (pipeline, version)} == {"team-a"}
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"]
    assert version["spec"]["pipelineSpec"] == spec
    assert version["spec"]["platformSpec"] == platform
    assert version["metadata"]["name"].endswith(hashlib.sha256(package.read_bytes()).hexdigest()[:12])
    assert list(tmp_path.iterdir()) == [out]


def test_a_name_that_kubernetes_refuses_is_refused_here(unlearn, tmp_path):
    one_line(
        unlearn("pipeline", "manifests", "--name", "My Pipeline", "--out", tmp_path / "manifests.yaml"),
        "is not a valid Kubernetes name",
    )
    assert list(tmp_path.iterdir()) == []


def test_custom_resources_that_cannot_be_put_in_place_leave_nothing(unlearn, tmp_path):
    out = tmp_path / "manifests.yaml"
    out.mkdir()
    code, _, err = unlearn("pipeline", "manifests", "--out", out)
    assert (code, err.count("\n")) == (1, 1)
    assert list(tmp_path.iterdir()) == [out]
