"""The command line against stubs of Kubeflow Pipelines and Kubernetes on loopback."""

import sys
from collections.abc import Callable, Iterator

import pytest

from i2i_unlearn.cli import main
from tests.pipeline.cluster.kfp_stub import ROOT, KubeflowStub
from tests.pipeline.cluster.kubernetes_stub import KubernetesStub


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch, tmp_path):
    """No setting of whoever runs the tests counts."""
    names = (
        "HOST",
        "ENDPOINT",
        "UI_ENDPOINT",
        "SA_TOKEN_PATH",
        "TOKEN",
        "TOKEN_FILE",
        "CA_FILE",
        "DEFAULT_EXPERIMENT_NAME",
        "OVERRIDE_EXPERIMENT_NAME",
    )
    for name in [*(f"KF_PIPELINES_{name}" for name in names), "I2I_UNLEARN_NAMESPACE"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


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
def kubernetes(monkeypatch, tmp_path) -> Iterator[KubernetesStub]:
    """A cluster that the kubeconfig names, with namespace team-a."""
    with KubernetesStub().served() as stub:
        monkeypatch.setenv("KUBECONFIG", str(stub.kubeconfig(tmp_path / "kubeconfig")))
        yield stub
