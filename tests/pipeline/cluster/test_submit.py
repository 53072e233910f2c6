"""Starting, listing and ending runs against a stub of Kubeflow Pipelines; both speak through real sockets."""

import json

import yaml

from tests.pipeline.cluster.kfp_stub import ROOT, KubeflowStub, one_line

PACKAGE = ROOT / "pipelines/unlearning.yaml"


def test_submitting_starts_the_package_with_typed_parameters_and_tells_where_to_see_it(kubeflow, unlearn):
    code, out, err = unlearn(
        *("pipeline", "submit", "--host", kubeflow.url + "/"),
        *("--param", "alpha=0.5", "--param", "num_steps=20", "--param", "promote=on pass"),
        *("--name", "ticket 42", "--service-account", "i2i-unlearn-runner"),
    )
    assert (code, err) == (0, "")
    (run,) = kubeflow.runs
    assert f"run:   {run.run_id}" in out
    assert f"{kubeflow.url}/#/runs/details/{run.run_id}" in out
    assert run.display_name == "ticket 42"
    assert run.service_account == "i2i-unlearn-runner"
    given = run.runtime_config.parameters
    assert given == {"alpha": 0.5, "num_steps": 20, "promote": "on pass"}
    documents = list(yaml.safe_load_all(PACKAGE.read_text()))
    assert run.pipeline_spec["pipeline_spec"] == documents[0]
    assert run.pipeline_spec["platform_spec"] == documents[1]  # volumes and secrets


def test_runs_of_one_experiment_share_it(kubeflow, pipeline):
    for _ in range(2):
        assert pipeline("submit")[0] == 0
    (experiment,) = kubeflow.experiments
    assert experiment.display_name == "i2i-unlearn"
    assert {run.experiment_id for run in kubeflow.runs} == {experiment.experiment_id}


def test_a_wrong_parameter_is_told_before_anybody_is_asked(kubeflow, pipeline):
    one_line(pipeline("submit", "--param", "num_steps=many"), "num_steps='many'", "expected a whole number")
    assert kubeflow.requests == []


def test_a_dry_run_checks_and_asks_nobody(unlearn):
    code, out, _ = unlearn("pipeline", "submit", "--dry-run", "--param", "seed=7")
    assert code == 0
    assert "seed=7" in out
    assert "show_forget_images is true" in out.splitlines()[0]


def test_the_namespace_goes_with_experiment_and_search(unlearn):
    with KubeflowStub(multi_user=True).served() as kubeflow:
        for _ in range(2):
            assert unlearn("pipeline", "submit", "--host", kubeflow.url, "--namespace", "team-a")[0] == 0
        assert [one.namespace for one in kubeflow.experiments] == ["team-a"]
        one_line(unlearn("pipeline", "submit", "--host", kubeflow.url), "name the namespace with --namespace")


def test_without_an_address_the_command_says_how_to_get_one(unlearn):
    one_line(unlearn("pipeline", "list"), "port-forward")


def test_in_a_pod_the_address_is_kubeflow_s_usual_one(unlearn, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    one_line(
        unlearn("pipeline", "list", "--timeout", "3"),
        "http://ml-pipeline.kubeflow.svc.cluster.local:8888 cannot be reached",
    )


def test_listing_shows_the_newest_first_over_pages(kubeflow, pipeline):
    ids = [kubeflow.add_run(f"run {number}", "SUCCEEDED") for number in range(130)]
    code, out, _ = pipeline("list", "--limit", "120", "--json")
    assert code == 0
    assert [run["id"] for run in json.loads(out)] == ids[::-1][:120]
    assert len(kubeflow.asked("GET", "/apis/v2beta1/runs")) == 2
    _, out, _ = pipeline("list", "--limit", "1")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [[ids[-1], "SUCCEEDED"]]


def test_listing_one_experiment(kubeflow, pipeline):
    kubeflow.add_run("of somebody else")
    pipeline("submit", "--name", "mine", "--experiment", "tickets")
    _, out, _ = pipeline("list", "--experiment", "tickets", "--json")
    assert [run["name"] for run in json.loads(out)] == ["mine"]
    one_line(pipeline("list", "--experiment", "none"), "no experiment 'none'")


def test_no_runs_is_no_error(kubeflow, pipeline):
    assert pipeline("list")[:2] == (0, "no runs\n")


def test_cancelling_twice_or_too_late_does_no_harm(kubeflow, pipeline):
    run_id = kubeflow.add_run(state="RUNNING")
    for state, said in (("", "is being cancelled"), ("", "already"), ("SUCCEEDED", "has already ended: SUCCEEDED")):
        kubeflow.runs[0].state = state or kubeflow.runs[0].state
        code, out, _ = pipeline("cancel", run_id)
        assert (code, kubeflow.runs[0].state) == (0, state or "CANCELING")
        assert said in out
    terminated = [path for method, path, *_ in kubeflow.requests if path.endswith(":terminate")]
    assert len(terminated) == 1


def test_a_run_that_ends_while_it_is_being_cancelled_is_no_error(kubeflow, pipeline):
    run_id = kubeflow.add_run()
    kubeflow.looks(run_id, ("RUNNING", []), ("SUCCEEDED", []))
    kubeflow.before("terminate_run", lambda: setattr(kubeflow.runs[0], "state", "SUCCEEDED"))
    assert pipeline("cancel", run_id)[0] == 0


def test_a_run_that_is_not_there_cannot_be_cancelled(kubeflow, pipeline):
    one_line(pipeline("cancel", "none"), "Run none not found")


def test_the_estimate_comes_before_the_run(kubeflow, pipeline):
    code, out, err = pipeline("submit", "--estimate", "--param", "num_steps=10")
    assert (code, err) == (0, "")
    assert out.index("unlearn: 10 steps of 2 x 32 images") < out.index("run:   ")
    assert "an estimate, not a measurement" in out
    assert len(kubeflow.runs) == 1
