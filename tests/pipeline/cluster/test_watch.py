"""Following a run of the stub until it ends."""

import signal

import kfp_server_api as api
import pytest
import yaml

from i2i_unlearn.pipeline.cluster.connect import Where, connect
from i2i_unlearn.pipeline.cluster.watch import watch
from tests.pipeline.cluster.http_stub import Reply, wait_for
from tests.pipeline.cluster.kfp_stub import NOW, ROOT, KubeflowStub, one_line

task = KubeflowStub.task


def drivers_and_groups():
    """What Argo lists besides the steps."""
    names = ("unlearning-x7k2p", "root-driver", "root", "exit-handler-1", "split-driver", "executor", "condition-2")
    return [task(name, "SUCCEEDED", 1) for name in names]


def test_a_line_for_each_change_and_exit_code_0_at_the_end(kubeflow, pipeline):
    spec = next(yaml.safe_load_all((ROOT / "pipelines/unlearning.yaml").read_text()))
    run_id = kubeflow.add_run(state="PENDING", pipeline_spec={"pipeline_spec": spec, "platform_spec": {}})
    inner = drivers_and_groups()
    kubeflow.looks(
        run_id,
        ("PENDING", []),
        ("RUNNING", [*inner, task("split", "RUNNING")]),
        ("RUNNING", [*inner, task("split", "SUCCEEDED", 65), task("unlearn", "PENDING", begun=False)]),
        ("RUNNING", [*inner, task("split", "SUCCEEDED", 65), task("unlearn", "PENDING", begun=False)]),
        ("SUCCEEDED", [*inner, task("split", "SUCCEEDED", 65), task("unlearn", "SUCCEEDED", 3725)]),
    )
    code, out, err = pipeline("watch", run_id, "--every", "0.1")
    assert (code, err) == (0, "")
    link, *lines, last = out.splitlines()
    assert link.endswith(f"/#/runs/details/{run_id}")
    said = [line.split() for line in lines]
    assert [words[:2] for words in said] == [
        ["PENDING", "(the"],
        ["RUNNING", "split"],
        ["RUNNING", "(the"],
        ["SUCCEEDED", "split"],
        ["PENDING", "unlearn"],
        ["SUCCEEDED", "unlearn"],
    ]
    assert said[3][2] == "0:01:05"
    assert said[4][2:] == []  # it has not begun
    assert said[5][2] == "1:02:05"
    assert last == f"run {run_id} ended as SUCCEEDED"


def test_without_the_specification_the_steps_are_told_by_their_names(kubeflow, pipeline):
    run_id = kubeflow.add_run()  # started from an uploaded version: the API tells no specification
    kubeflow.looks(run_id, ("SUCCEEDED", [*drivers_and_groups()[1:], task("unlearn", "SUCCEEDED", 5)]))
    _, out, _ = pipeline("watch", run_id)
    assert [line.split()[1] for line in out.splitlines()[1:-1]] == ["unlearn"]


def test_a_retried_step_shows_its_newest_try(kubeflow, pipeline):
    run_id = kubeflow.add_run()
    second = api.V2beta1PipelineTaskDetail(
        display_name="unlearn", state="SUCCEEDED", start_time=NOW.replace(hour=13), end_time=NOW.replace(hour=14)
    )
    kubeflow.looks(run_id, ("SUCCEEDED", [second, task("unlearn", "FAILED", 9)]))
    code, out, _ = pipeline("watch", run_id)
    assert code == 0
    assert "FAILED" not in out


def test_a_failed_run_is_exit_code_1_with_the_step_and_the_reason(kubeflow, pipeline):
    run_id = kubeflow.add_run(error=api.GoogleRpcStatus(code=13, message="OOMKilled\n(exit code 137)"))
    kubeflow.looks(run_id, ("FAILED", [task("split", "SUCCEEDED", 1), task("unlearn", "FAILED", 9)]))
    code, out, err = pipeline("watch", run_id)
    assert code == 1
    assert "ended as FAILED (failed: unlearn; OOMKilled (exit code 137))" in err
    assert "pipeline logs" in err
    assert err.count("\n") == 1


def test_a_cancelled_run_is_exit_code_1(kubeflow, pipeline):
    one_line(pipeline("watch", kubeflow.add_run(state="CANCELED")), "ended as CANCELED")


def test_watching_outlives_a_server_that_is_restarted(kubeflow, pipeline):
    run_id = kubeflow.add_run()
    kubeflow.looks(run_id, ("RUNNING", []), ("SUCCEEDED", []))
    away = [Reply(503, b"no healthy upstream", "text/plain")] * 3
    kubeflow.before("get_run", lambda: kubeflow.faults.extend(away))
    code, out, _ = pipeline("watch", run_id, "--every", "0.1")
    assert code == 0
    assert out.count("trying again") == 3


def test_watching_a_server_that_stays_away_ends(kubeflow, pipeline):
    run_id = kubeflow.add_run()
    kubeflow.before("get_run", lambda: setattr(kubeflow, "always", Reply(503, b"", "text/plain")))
    code, out, err = pipeline("watch", run_id, "--every", "0.1")
    assert code == 1
    assert "503" in err
    assert out.count("trying again") == 10


def test_a_long_step_and_one_that_waits_for_its_pod_are_said_again(kubeflow):
    run_id = kubeflow.add_run()
    done = task("split", "SUCCEEDED", 1)
    waiting = ("RUNNING", [done, task("unlearn", "PENDING", begun=False)])
    running = ("RUNNING", [done, task("unlearn", "RUNNING")])
    kubeflow.looks(run_id, *[waiting] * 3, *[running] * 4, ("SUCCEEDED", [task("unlearn", "SUCCEEDED", 9)]))
    said = []
    with connect(Where(host=kubeflow.url)) as there:
        assert watch(there, run_id, said.append, 0.01, still_s=0) == ("SUCCEEDED", "")
    assert said.count("PENDING    unlearn") == 3
    assert len([line for line in said if line.startswith("RUNNING    unlearn")]) == 4  # with the time until now
    assert len([line for line in said if line.split()[:2] == ["SUCCEEDED", "split"]]) == 1


@pytest.mark.parametrize("then", [Reply(429, {"message": "too many requests"}), Reply(503, {"message": "upgrade"})])
def test_a_server_that_is_too_busy_and_then_perhaps_does_not_answer_is_asked_again(kubeflow, pipeline, then):
    run_id = kubeflow.add_run(state="SUCCEEDED")
    kubeflow.faults = [Reply(429, {"message": "too many requests"}), then]
    code, out, _ = pipeline("watch", run_id, "--every", "0.1")
    assert code == 0
    assert out.count("trying again") == 2


@pytest.mark.parametrize("pages", ["", "https://eve:other-secret@pages.example.com"])
def test_a_password_in_the_address_is_not_in_the_link(kubeflow, unlearn, monkeypatch, pages):
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", pages)
    run_id = kubeflow.add_run(state="SUCCEEDED")
    host = kubeflow.url.replace("//", "//ada:secret@")
    code, out, _ = unlearn("pipeline", "watch", run_id, "--host", host)
    assert code == 0
    shown = "https://pages.example.com" if pages else kubeflow.url
    assert out.splitlines()[0] == f"{shown}/#/runs/details/{run_id}"


def test_ctrl_c_leaves_the_run_running_and_says_so(kubeflow, process):
    run_id = kubeflow.add_run(state="RUNNING")
    watching = process("watch", run_id)
    wait_for(lambda: kubeflow.requests, 60)
    assert watching.stdout.readline().strip().endswith(run_id)
    assert "RUNNING" in watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert f"run {run_id} continues" in err
    assert "Traceback" not in err
    assert kubeflow.runs[0].state == "RUNNING"
    assert not [path for method, path, *_ in kubeflow.requests if method == "POST"]
