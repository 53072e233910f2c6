"""Following the logs of a run until it ends, from stubs of Kubernetes and Kubeflow Pipelines on real sockets."""

import signal
import time
from datetime import timedelta

import pytest

from tests.pipeline.cluster.http_stub import Reply
from tests.pipeline.cluster.kfp_stub import KubeflowStub, one_line

LOG = "/api/v1/namespaces/team-a/pods/p-unlearn-0/log"
WORKFLOW = "unlearning-x7k2p.root.exit-handler-1"
task = KubeflowStub.task


class Cluster:
    """Both stubs, and a run that goes on by a step at each look at it."""

    def __init__(self, kubeflow, kubernetes) -> None:
        self.kubeflow, self.kubernetes = kubeflow, kubernetes
        self.run_id = kubeflow.add_run()
        self.acts = []
        kubeflow.before("get_run", lambda: self.acts and self.acts.pop(0)())
        self._get_log = kubernetes.get_log
        self.replies = []
        """What becomes of the next logs that are asked for: each a function of the bytes."""
        self.lost = []
        """Pods whose node does not answer."""
        kubernetes.get_log = self._log

    def add_pod(self, step, log=None, number=0, **more) -> str:
        name = f"p-{step}-{number}"
        node = f"{WORKFLOW}.{step}.executor({number})"
        self.kubernetes.add_pod(name, node, self.run_id, **{"phase": "Running", "after": number} | more)
        if log is not None:
            self.kubernetes.logs[name] = log
        return name

    def print(self, name, text: bytes) -> None:
        self.kubernetes.logs[name] = self.kubernetes.logs.get(name, b"") + text

    def end_pod(self, name, phase="Succeeded", last=b"") -> None:
        if last:
            self.print(name, last)
        for pod in self.kubernetes.pods:
            if pod.metadata.name == name:
                pod.status.phase = phase

    def end(self, state="SUCCEEDED") -> None:
        self.kubeflow.runs[0].state = state
        for pod in self.kubernetes.pods:
            self.end_pod(pod.metadata.name)

    def _log(self, query, body, namespace, name):
        if name in self.lost:
            raise Reply(500, {"message": "dial tcp 10.0.0.7:10250: i/o timeout"})
        log = self._get_log(query, body, namespace, name)
        return self.replies.pop(0)(log) if self.replies else log


@pytest.fixture
def cluster(kubeflow, kubernetes) -> Cluster:
    return Cluster(kubeflow, kubernetes)


@pytest.fixture
def follow(cluster, unlearn):
    def call(*words):
        options = ["--follow", "--every", "0.1", "--timeout", "1", "--host", cluster.kubeflow.url]
        return unlearn("pipeline", "logs", cluster.run_id, *options, *words)

    return call


def cut_after(size, silence_s=0):
    """Only so many bytes arrive, then nothing, and then the connection is gone."""

    def reply(log):
        yield log[:size]
        time.sleep(silence_s)
        raise ConnectionAbortedError

    return reply


def drop_by_drop(log):
    for start in range(0, len(log), 7):
        time.sleep(0.01)
        yield log[start : start + 7]


def numbered(count, begin=0) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(begin, begin + count))


def test_each_line_once_in_the_steps_order_until_the_run_has_succeeded(cluster, follow):
    cluster.add_pod("split", b"1 forget\n")
    cluster.acts = [
        lambda: None,
        lambda: cluster.print("p-split-0", b"2 ret"),
        lambda: cluster.print("p-split-0", b"ain\n"),
        lambda: cluster.end_pod("p-split-0"),
        lambda: cluster.add_pod("unlearn", "fertig: \u00fcber 90 %\n".encode() + b"\xff", 1),
        lambda: None,
        cluster.end,
    ]
    code, out, err = follow()
    assert (code, err) == (0, "")
    assert out == (
        "== split (p-split-0, Running)\n1 forget\n2 retain\n"
        "== unlearn (p-unlearn-1, Running)\nfertig: \u00fcber 90 %\n\ufffd\n"
        f"run {cluster.run_id} ended as SUCCEEDED\n"
    )


def test_steps_that_run_at_the_same_time_are_told_apart(cluster, follow):
    cluster.add_pod("unlearn", b"step 1\n")
    cluster.add_pod("reference", b"epoch 1\n", 1)
    cluster.acts = [
        lambda: None,
        lambda: cluster.print("p-reference-1", b"epoch 2\n"),
        lambda: cluster.print("p-unlearn-0", b"step 2\n"),
        cluster.end,
    ]
    _, out, _ = follow()
    assert [line.split(" (")[0] for line in out.splitlines()[:-1]] == [
        "== unlearn", "step 1", "== reference", "epoch 1", "epoch 2", "== unlearn", "step 2",
    ]  # fmt: skip


@pytest.mark.parametrize("silence_s", [0, 1.5])  # the second is longer than is waited
def test_a_log_that_breaks_off_within_a_line_is_taken_up_without_loss_and_without_repetition(
    cluster, follow, silence_s
):
    cluster.add_pod("unlearn", numbered(9))
    size = len(b"2026-02-01T12:00:00.000000000Z line 0\n")
    cluster.replies = [cut_after(6 * size + 33, silence_s), cut_after(3 * size + 5, silence_s), drop_by_drop]
    cluster.acts = [lambda: None] * 4 + [lambda: cluster.print("p-unlearn-0", numbered(3, 9)), cluster.end]
    code, out, err = follow()
    assert code == 0
    assert out == f"== unlearn (p-unlearn-0, Running)\n{numbered(12).decode()}run {cluster.run_id} ended as SUCCEEDED\n"
    assert "broke off" in err
    asked = [query.get("sinceTime") for query in cluster.kubernetes.asked("GET", LOG)]
    assert asked[:3] == [None, ["2026-02-01T12:00:01+00:00"], ["2026-02-01T12:00:01+00:00"]]


@pytest.mark.parametrize("line_every_s", [0, 0.25])
def test_the_same_text_twice_at_a_time_is_written_twice(cluster, follow, line_every_s):
    cluster.kubernetes.line_every = timedelta(seconds=line_every_s)
    cluster.add_pod("unlearn", b"again\nagain\n")
    size = len(b"2026-02-01T12:00:00.000000000Z again\n")
    cluster.replies = [cut_after(size + 9)]
    cluster.acts = [lambda: None] * 3 + [lambda: cluster.print("p-unlearn-0", b"again\n"), lambda: None, cluster.end]
    _, out, _ = follow()
    assert out.count("again\n") == 3


def test_a_pod_that_ends_after_its_run_is_read_to_its_end(cluster, follow):
    cluster.add_pod("unlearn", b"step 1\nst")
    cluster.acts = [
        lambda: None,
        lambda: setattr(cluster.kubeflow.runs[0], "state", "CANCELED"),
        lambda: cluster.end_pod("p-unlearn-0", "Failed", b"opped"),
    ]
    _, out, _ = follow()
    assert out == "== unlearn (p-unlearn-0, Running)\nstep 1\nstopped\n"


def test_of_what_was_printed_before_the_last_lines_alone(cluster, follow):
    cluster.add_pod("unlearn", numbered(7))
    cluster.acts = [lambda: None, lambda: None, lambda: cluster.print("p-unlearn-0", numbered(2, 7)), cluster.end]
    _, out, _ = follow("--tail", "2", "--step", "unlearn")
    assert out.splitlines()[1:-1] == ["line 5", "line 6", "line 7", "line 8"]


def test_a_run_whose_pods_are_not_made_yet_is_waited_for(cluster, follow):
    cluster.acts = [
        lambda: None,
        lambda: cluster.add_pod("split", phase="Pending"),
        lambda: None,
        lambda: cluster.print("p-split-0", b"begun\n"),
        cluster.end,
    ]
    code, out, err = follow()
    assert code == 0
    assert "begun\n" in out
    assert err.count("ContainerCreating") == 1
    assert err.count("namespace team-a has no pods of run") == 1


def test_a_step_that_has_not_come_to_its_turn_is_waited_for_and_told_once(cluster, follow):
    cluster.add_pod("split", b"1 forget\n")
    cluster.acts = [lambda: None, lambda: None, lambda: cluster.add_pod("unlearn", b"step 1\n", 1), cluster.end]
    code, out, err = follow("--step", "unlearn")
    assert (code, err) == (0, "step unlearn has no pod\n")
    assert "step 1\n" in out


def test_a_failed_run_is_exit_code_1_with_the_last_lines_and_the_step(cluster, follow):
    cluster.add_pod("unlearn", b"step 1\n")
    failed = [task("unlearn", "FAILED", 9)]
    cluster.kubeflow.looks(cluster.run_id, ("RUNNING", []), ("FAILED", failed))
    cluster.acts = [
        lambda: None,
        lambda: (cluster.print("p-unlearn-0", b"CUDA error"), cluster.end_pod("p-unlearn-0", "Failed")),
    ]
    code, out, err = follow()
    assert code == 1
    assert out.endswith("step 1\nCUDA error\n")
    assert f"run {cluster.run_id} ended as FAILED (failed: unlearn)" in err
    assert err.count("\n") == 1


def test_a_pod_that_is_lost_ends_no_watching(cluster, follow):
    lost = cluster.add_pod("unlearn", b"step 1\n")
    cluster.acts = [
        lambda: None,
        lambda: cluster.lost.append(lost),
        lambda: cluster.add_pod("unlearn", b"step 1 again\n", 1),
        cluster.end,
    ]
    code, out, err = follow()
    assert code == 0
    assert "step 1\n== unlearn (p-unlearn-1, Running)\nstep 1 again\n" in out
    assert err.count("i/o timeout") == 1


def test_both_servers_may_be_restarted(cluster, follow):
    cluster.add_pod("unlearn", b"step 1\n")
    cluster.acts = [
        lambda: None,
        lambda: cluster.kubernetes.faults.extend([Reply(503, {"message": "etcd is gone"}), "cut"]),
        lambda: cluster.kubeflow.faults.extend([Reply(503, b"", "text/plain")] * 2),
        lambda: cluster.print("p-unlearn-0", b"step 2\n"),
        cluster.end,
    ]
    code, out, err = follow()
    assert code == 0
    assert out.splitlines()[1:-1] == ["step 1", "step 2"]
    assert err.count("trying again") >= 3


@pytest.mark.parametrize(
    ("server", "status", "said"),
    [
        ("kubeflow", 401, "give a valid one with --token-file"),
        ("kubeflow", 404, "has no such thing (404"),
        ("kubernetes", 401, "log in again"),
        ("kubernetes", 403, "ask for the right"),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_what_a_server_will_not_grant_is_one_line_and_ends_it(cluster, follow, server, status, said, later):
    cluster.add_pod("unlearn", b"step 1\n")

    def refuse():
        getattr(cluster, server).always = Reply(status, {"message": "no"})

    if later:
        cluster.acts = [lambda: None, refuse]
    else:
        refuse()
    code, out, err = follow()
    assert (code, out) == (1, "== unlearn (p-unlearn-0, Running)\nstep 1\n" if later else "")
    assert said in err
    assert err.count("\n") == 1


def test_a_step_that_the_pipeline_does_not_have_is_told_at_once(cluster, follow):
    spec = {"root": {"dag": {"tasks": {"split": {"componentRef": {"name": "comp-split"}}}}}, "components": {}}
    cluster.kubeflow.runs[0].pipeline_spec = {"pipeline_spec": spec}
    one_line(follow("--step", "splitt"), "has no step 'splitt'; it has split")


def test_a_run_that_ended_long_ago_and_has_no_pods_is_told_by_its_state(cluster, follow):
    cluster.kubeflow.runs[0].state = "SUCCEEDED"
    code, out, err = follow()
    assert (code, out) == (0, f"run {cluster.run_id} ended as SUCCEEDED\n")
    assert "has no pods of run" in err


def test_ctrl_c_ends_the_following_alone_and_says_so(cluster, process):
    cluster.add_pod("unlearn", b"step 1\n")
    following = process("logs", cluster.run_id, "--follow", "--every", "0.1")
    assert following.stdout.readline().startswith("== unlearn")
    assert following.stdout.readline() == "step 1\n"
    following.send_signal(signal.SIGINT)
    _, err = following.communicate(timeout=30)
    assert following.returncode == 130
    assert f"run {cluster.run_id} continues" in err
    assert "Traceback" not in err
    assert not [path for method, path, *_ in cluster.kubeflow.requests if method != "GET"]
