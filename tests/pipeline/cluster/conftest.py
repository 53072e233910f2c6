"""The command line against stubs of Kubeflow Pipelines and Kubernetes on loopback."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from i2i_unlearn.cli import main
from tests.pipeline.cluster.kfp_stub import ROOT, KubeflowStub
from tests.pipeline.cluster.kubernetes_stub import KubernetesStub


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch, tmp_path):
    """Settings of the person who runs the tests have no effect."""
    for name in list(os.environ):
        if name.startswith("KF_PIPELINES_") or name.lower() in ("http_proxy", "https_proxy"):
            monkeypatch.delenv(name)
    for name in ("I2I_UNLEARN_NAMESPACE", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))


@pytest.fixture
def kubeflow() -> Iterator[KubeflowStub]:
    with KubeflowStub().served() as stub:
        yield stub


@pytest.fixture
def unlearn(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """`unlearn("pipeline", "list")` -> exit code, stdout, stderr; in the repository's folder."""
    monkeypatch.chdir(ROOT)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["i2i-unlearn", *map(str, arguments)])
        code = 0
        try:
            main.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def pipeline(unlearn, kubeflow) -> Callable[..., tuple[int, str, str]]:
    """`pipeline("list")`: `unlearn pipeline list`, asked of `kubeflow`."""
    return lambda *words: unlearn("pipeline", *words, "--host", kubeflow.url)


@pytest.fixture
def process(kubeflow) -> Callable[..., "subprocess.Popen[str]"]:
    """As `pipeline`, as a process of its own that Ctrl-C (SIGINT) ends."""

    def start(*words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "i2i_unlearn.cli.main", "pipeline", *words, "--host", kubeflow.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    return start


@pytest.fixture
def kubernetes(monkeypatch, tmp_path) -> Iterator[KubernetesStub]:
    """A cluster that the kubeconfig names, with namespace team-a."""
    with KubernetesStub().served() as stub:
        monkeypatch.setenv("KUBECONFIG", str(stub.kubeconfig(tmp_path / "kubeconfig")))
        yield stub
