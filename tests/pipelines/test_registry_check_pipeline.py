"""The pipeline that checks the registry: as Kubeflow reads it, and run on this machine."""

import shutil
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.config.sections import PromoteConfig, load_params
from i2i_unlearn.pipeline.local.runner import form_fields, run_package
from i2i_unlearn.support.errors import GateRefused

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipelines/registry_check.yaml"
SPEC = next(yaml.safe_load_all(PACKAGE.read_text()))


def test_the_constants_are_the_settings_of_promotion():
    given = SPEC["root"]["dag"]["tasks"]["registry-check"]["inputs"]["parameters"]
    constants = given["settings"]["runtimeValue"]["constant"]
    assert PromoteConfig(**constants["promote"]) == PromoteConfig.from_params(load_params(ROOT / "params.yaml"))
    assert list(form_fields(SPEC)) == ["model_name"]


def test_a_run_fails_with_the_finding_when_the_alias_was_moved_by_hand(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    package = Path(shutil.copy(PACKAGE, tmp_path / "registry_check.yaml"))
    params = ["model_name=painter"]
    folder = run_package(package, params, tmp_path / "runs")
    assert "| champion |  |" in (folder / "registry-check/checked").read_text()
    client = MlflowClient()
    client.create_registered_model("painter")
    version = client.create_model_version("painter", str(tmp_path))
    client.set_registered_model_alias("painter", "champion", version.version)
    with pytest.raises(GateRefused, match="champion in MLflow is version 1, but .* the alias was moved by hand"):
        run_package(package, params, tmp_path / "runs")
