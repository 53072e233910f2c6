"""The rendered overlays."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Manifest = dict[str, Any]
K8S = Path(__file__).parents[2] / "k8s"
OVERLAYS = sorted(path.parent.name for path in (K8S / "overlays").glob("*/kustomization.yaml"))


def render(folder: Path) -> list[Manifest]:
    """What `kubectl apply -k` would send."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl 1.27 or newer is missing (https://kubernetes.io/docs/tasks/tools/)")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def pods_in(manifest: Any) -> Iterator[Manifest]:
    """Every pod's spec in it, however deep."""
    if isinstance(manifest, dict):
        if isinstance(manifest.get("containers"), list):
            yield manifest
        for value in manifest.values():
            yield from pods_in(value)
    elif isinstance(manifest, list):
        for value in manifest:
            yield from pods_in(value)


@pytest.fixture(scope="package", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[Manifest]:
    """All manifests of one overlay."""
    return render(K8S / "overlays" / request.param)


@pytest.fixture(scope="package")
def prod() -> list[Manifest]:
    return render(K8S / "overlays" / "prod")
