"""Logs of a run's steps, from a stub of Kubernetes."""

import pytest
import yaml

from tests.pipeline.cluster.http_stub import Reply
from tests.pipeline.cluster.kfp_stub import one_line
from tests.pipeline.cluster.kubernetes_stub import KubernetesStub

RUN = "8f6f2e3a-0c1d-4f7b-9a51-3f2c6b1d7e90"
WORKFLOW = "unlearning-x7k2p.root.exit-handler-1"


@pytest.fixture
def with_pods(kubernetes):
    kubernetes.add_pod("p-unlearn-0", f"{WORKFLOW}.unlearn.executor(0)", RUN, after=20, phase="Failed")
    kubernetes.add_pod("p-unlearn-1", f"{WORKFLOW}.unlearn.executor(1)", RUN, after=30, phase="Running")
    kubernetes.add_pod("p-driver", f"{WORKFLOW}.unlearn-driver", RUN, after=15)
    kubernetes.add_pod("p-split", f"{WORKFLOW}.split.executor", RUN, after=10)
    kubernetes.add_pod("p-evaluate", f"{WORKFLOW}.evaluate.executor", RUN, after=None)
    kubernetes.add_pod("p-other", f"{WORKFLOW}.split.executor", "another-run")
    kubernetes.logs = {
        "p-split": b"1 forget, 2 retain\n",
        "p-unlearn-0": b"step 1\nkilled",
        "p-unlearn-1": "step 1\nfertig: \u00fcber 90 %\n".encode() + b"\xff\n",
    }
    return kubernetes


def test_steps_in_the_order_in_which_they_began_with_every_try(with_pods, unlearn):
    code, out, err = unlearn("pipeline", "logs", RUN)
    assert (code, err) == (0, "")
    assert out == (
        "== split (p-split, Succeeded)\n1 forget, 2 retain\n"
        "== unlearn (p-unlearn-0, Failed)\nstep 1\nkilled\n"
        "== unlearn (p-unlearn-1, Running)\nstep 1\nfertig: \u00fcber 90 %\n\ufffd\n"
        "== evaluate (p-evaluate, Pending)\n"
        f'(Kubernetes at {with_pods.url} refuses (400: container "main" in pod "p-evaluate" is waiting to start: '
        "ContainerCreating))\n"
    )


def test_one_step_and_its_last_lines(with_pods, unlearn):
    _, out, _ = unlearn("pipeline", "logs", RUN, "--step", "unlearn", "--tail", "1")
    assert out == "== unlearn (p-unlearn-0, Failed)\nkilled\n== unlearn (p-unlearn-1, Running)\n\ufffd\n"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--step", "unlern", ["split, unlearn, evaluate"]),
        ("--namespace", "team-b", ["namespace team-b has no pods of run", "--namespace"]),
    ],
)
def test_a_step_or_a_namespace_without_pods_of_the_run_is_told(with_pods, unlearn, option, value, said):
    one_line(unlearn("pipeline", "logs", RUN, option, value), *said)


def test_an_id_cannot_select_other_pods(with_pods, unlearn):
    one_line(unlearn("pipeline", "logs", f"{RUN},x!=y"), "is not the id of a run")
    assert with_pods.requests == []


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(401, {"message": "Unauthorized"}), "log in again"),
        (Reply(403, {"message": 'pods is forbidden: User "me" cannot list resource "pods"'}), "ask for the right"),
        (Reply(500, {"message": "etcd is gone"}), "failed (500: etcd is gone)"),
        (Reply(200, b"<html>log in</html>", "text/html"), "a page of HTML"),
        (Reply(200, {"items": None}), "cannot read its answer"),
        ("hang", "no answer in 0.5 s"),
    ],
    ids=["401", "403", "500", "html", "no-items", "silence"],
)
def test_what_kubernetes_refuses_is_one_line(kubernetes, unlearn, reply, said):
    kubernetes.always = reply
    one_line(unlearn("pipeline", "logs", RUN, "--timeout", "0.5"), said)


def test_without_a_kubeconfig_the_command_says_so(unlearn):
    one_line(unlearn("pipeline", "logs", RUN), "set KUBECONFIG")


@pytest.mark.parametrize("content", ["not: a: kubeconfig", "[]", "clusters: 3", "token: secret-word\ncontexts: []"])
def test_a_kubeconfig_that_is_none_is_one_line_without_its_secrets(unlearn, tmp_path, monkeypatch, content):
    (tmp_path / "kubeconfig").write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    assert "secret-word" not in one_line(unlearn("pipeline", "logs", RUN), "cannot be used")


@pytest.mark.parametrize("variable", ["", "HTTP_PROXY"])
def test_a_proxy_that_fails_is_named(kubernetes, unlearn, tmp_path, monkeypatch, variable):
    path = kubernetes.kubeconfig(tmp_path / "kubeconfig")
    content = yaml.safe_load(path.read_text())
    content["clusters"][0]["cluster"]["server"] = "http://cluster.example.com:6443"
    if variable:
        monkeypatch.setenv(variable, "http://me:secret-word@127.0.0.1:9")
    else:
        content["clusters"][0]["cluster"]["proxy-url"] = "http://me:secret-word@127.0.0.1:9"
    path.write_text(yaml.safe_dump(content))
    told = one_line(unlearn("pipeline", "logs", RUN), "its proxy http://127.0.0.1:9 fails")
    assert "secret-word" not in told


def test_the_proxy_of_the_kubeconfig_is_used(kubernetes, unlearn, tmp_path):
    path = kubernetes.kubeconfig(tmp_path / "kubeconfig")
    content = yaml.safe_load(path.read_text())
    stub = content["clusters"][0]["cluster"]["server"]
    content["clusters"][0]["cluster"] |= {"server": "http://cluster.example.com:6443", "proxy-url": stub}
    path.write_text(yaml.safe_dump(content))
    unlearn("pipeline", "logs", RUN)
    assert kubernetes.requests  # it was asked for what lies at cluster.example.com


def test_a_proxy_of_another_kind_is_refused(kubernetes, unlearn, tmp_path):
    path = kubernetes.kubeconfig(tmp_path / "kubeconfig")
    content = yaml.safe_load(path.read_text())
    content["clusters"][0]["cluster"]["proxy-url"] = "socks5://127.0.0.1:9"
    path.write_text(yaml.safe_dump(content))
    one_line(unlearn("pipeline", "logs", RUN), "proxy-url 'socks5://127.0.0.1:9'")


def test_the_token_of_the_kubeconfig_is_used_and_not_told(unlearn, tmp_path, monkeypatch):
    with KubernetesStub(token="let-me-in").served() as kubernetes:
        kubernetes.add_pod("p", f"{WORKFLOW}.split.executor", RUN)
        kubernetes.logs = {"p": b"fine\n"}
        path = kubernetes.kubeconfig(tmp_path / "kubeconfig", token="let-me-in")
        monkeypatch.setenv("KUBECONFIG", str(path))
        assert unlearn("pipeline", "logs", RUN)[0] == 0
        kubernetes.token = "another"
        assert "let-me-in" not in one_line(unlearn("pipeline", "logs", RUN))
