"""The doctor asks a real MLflow server."""

import pytest

from i2i_unlearn.cli.doctor_checks import look
from i2i_unlearn.cli.doctor_checks.mlflow_server import mlflow_server as check
from tests.registry.servers import mlflow_server


@pytest.mark.slow
def test_a_server_answers_and_has_the_client_s_version(tmp_path, monkeypatch):
    with mlflow_server(tmp_path / "server") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        lines = look([check(30)])
    assert [(line.name, line.state) for line in lines] == [("mlflow", "ok"), ("mlflow version", "ok")]
