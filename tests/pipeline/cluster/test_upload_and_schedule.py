"""Pipelines that the cluster keeps: versions, recurring runs, custom resources."""

import hashlib

import kfp_server_api as api
import pytest
import yaml

from tests.pipeline.cluster.kfp_stub import ROOT

PACKAGE = ROOT / "pipelines/unlearning.yaml"
DIGEST = hashlib.sha256(PACKAGE.read_bytes()).hexdigest()


def test_the_first_upload_makes_a_pipeline_and_the_next_a_version(kubeflow, unlearn):
    code, out, _ = unlearn("pipeline", "upload", "--host", kubeflow.url)
    assert code == 0
    code, _, _ = unlearn(
        "pipeline", "upload", "--host", kubeflow.url, "--version", "2026-02", "--description", "New gate for portraits"
    )
    assert code == 0
    (pipeline,) = kubeflow.pipelines
    assert pipeline.display_name == "unlearning"
    first, second = kubeflow.versions
    assert (first.display_name, second.display_name) == (DIGEST[:12], "2026-02")
    assert second.description == f"New gate for portraits (sha256 {DIGEST})"
    assert kubeflow.files == [PACKAGE.read_bytes()] * 2
    assert f"/#/pipelines/details/{pipeline.pipeline_id}/version/{first.pipeline_version_id}" in out


def test_the_same_file_is_one_version(kubeflow, unlearn):
    unlearn("pipeline", "upload", "--host", kubeflow.url)
    code, out, _ = unlearn("pipeline", "upload", "--host", kubeflow.url)
    assert code == 0
    assert "exists already" in out
    assert len(kubeflow.versions) == 1


def test_a_version_s_name_does_not_change_its_file(kubeflow, unlearn):
    unlearn("pipeline", "upload", "--host", kubeflow.url, "--version", "v1")
    code, _, err = unlearn(
        *("pipeline", "upload", "--host", kubeflow.url, "--version", "v1"),
        *("--name", "unlearning", "--package", ROOT / "pipelines/registry_check.yaml"),
    )
    assert code == 1
    assert "made of another file" in err


def test_pipelines_of_one_name_in_two_namespaces_are_two(kubeflow, unlearn):
    for namespace in ("team-a", "team-b", "team-a"):
        assert unlearn("pipeline", "upload", "--host", kubeflow.url, "--namespace", namespace)[0] == 0
    assert [pipeline.namespace for pipeline in kubeflow.pipelines] == ["team-a", "team-b"]


def test_a_schedule_runs_the_check_every_day_and_is_made_once(kubeflow, unlearn):
    command = ("pipeline", "schedule", "--host", kubeflow.url, "--param", "model_name=faces")
    code, out, err = unlearn(*command)
    assert (code, err) == (0, "")
    assert "created" in out
    code, out, _ = unlearn(*command)
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
    ("more", "said"),
    [
        (("--cron", "0 0 7 * * *"), "with the times '0 0 6 * * *'"),
        (("--param", "model_name=other"), "other parameters"),
    ],
)
def test_a_schedule_of_the_same_name_that_does_something_else_is_told(kubeflow, unlearn, more, said):
    unlearn("pipeline", "schedule", "--host", kubeflow.url)
    code, _, err = unlearn("pipeline", "schedule", "--host", kubeflow.url, *more)
    assert code == 1
    assert said in err
    assert len(kubeflow.recurring) == 1


def test_a_schedule_that_runs_another_package_is_told(kubeflow, unlearn, tmp_path):
    package, older = ROOT / "pipelines/registry_check.yaml", tmp_path / "older.yaml"
    older.write_text(package.read_text().replace("image: i2i-unlearn:", "image: i2i-unlearn:0.0."))
    command = ("pipeline", "schedule", "--host", kubeflow.url)
    assert unlearn(*command, "--package", older)[0] == 0
    code, out, err = unlearn(*command, "--package", package)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"runs another package than {package}" in err
    assert unlearn(*command, "--package", older)[0] == 0
    assert len(kubeflow.recurring) == 1


def test_a_schedule_of_an_uploaded_version_is_another_and_one_that_is_not_told_is_not_doubted(kubeflow, unlearn):
    command = ("pipeline", "schedule", "--host", kubeflow.url)
    unlearn(*command)
    (recurring,) = kubeflow.recurring
    recurring.pipeline_spec = None
    assert unlearn(*command)[0] == 0
    recurring.pipeline_version_reference = api.V2beta1PipelineVersionReference("p", "v")
    assert "runs another package" in unlearn(*command)[2]


def test_a_schedule_that_is_paused_is_told(kubeflow, unlearn):
    command = ("pipeline", "schedule", "--host", kubeflow.url)
    unlearn(*command)
    (recurring,) = kubeflow.recurring
    recurring.status = "DISABLED"
    code, _, err = unlearn(*command)
    assert code == 1
    assert "exists but is paused" in err
    recurring.status = "ENABLED"
    assert unlearn(*command)[0] == 0


def test_a_schedule_of_another_account_is_told(kubeflow, unlearn):
    command = ("pipeline", "schedule", "--host", kubeflow.url)
    unlearn(*command, "--service-account", "runner")
    assert unlearn(*command, "--service-account", "runner")[0] == 0
    assert unlearn(*command)[0] == 0  # without the option it is Kubeflow's choice
    code, _, err = unlearn(*command, "--service-account", "other")
    assert code == 1
    assert "runs as 'runner'" in err


@pytest.mark.parametrize("cron", ["0 6 * * *", "daily", "0 0 6 * * *; rm"])
def test_times_that_are_none(kubeflow, unlearn, cron):
    code, _, err = unlearn("pipeline", "schedule", "--host", kubeflow.url, "--cron", cron)
    assert code == 1
    assert "0 0 6 * * *" in err
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
    code, _, err = unlearn("pipeline", "manifests", "--name", "My Pipeline", "--out", tmp_path / "manifests.yaml")
    assert code == 1
    assert "is not a valid Kubernetes name" in err
    assert list(tmp_path.iterdir()) == []


def test_custom_resources_that_cannot_be_put_in_place_leave_nothing(unlearn, tmp_path):
    out = tmp_path / "manifests.yaml"
    out.mkdir()
    code, _, err = unlearn("pipeline", "manifests", "--out", out)
    assert (code, err.count("\n")) == (1, 1)
    assert list(tmp_path.iterdir()) == [out]
