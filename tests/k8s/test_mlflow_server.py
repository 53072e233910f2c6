"""The command and the settings of the Deployment start a real MLflow server that answers to the service's name.

A database file stands for PostgreSQL, a folder for the bucket.
"""

import base64
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.k8s.conftest import K8S, render
from tests.registry.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PASSWORD = "a test's own"


def ask(port, path, host, *, password=None):
    """Status of an answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
    if password:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError:
        return None


@pytest.fixture(scope="module", params=["dev", "prod"])
def server(request, tmp_path_factory):
    """(overlay, port) of a server with the Deployment's arguments and environment."""
    home = tmp_path_factory.mktemp(request.param)
    manifests = render(K8S / "overlays" / request.param)
    (deployment,) = (one for one in manifests if one["kind"] == "Deployment")
    (settings,) = (one for one in manifests if one["kind"] == "ConfigMap")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (home / "root").mkdir()
    port = free_port()
    args = [{"0.0.0.0": "127.0.0.1", "5000": str(port)}.get(one, one) for one in container["args"]]
    (home / "basic_auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\nadmin_username = admin\ndatabase_uri = sqlite:///{home}/auth.db\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    brought = {  # what a person puts into the secrets
        "MLFLOW_AUTH_CONFIG_PATH": str(home / "basic_auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "x" * 32,
    }
    named = {variable["name"] for variable in container["env"]}
    environment = {
        "PATH": os.environ["PATH"],
        **settings["data"],
        **{name: value for name, value in brought.items() if name in named},
        "HOME": str(home),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{home}/mlflow.db",
        "MLFLOW_ARTIFACTS_DESTINATION": str(home / "artifacts"),
    }
    environment = {key: value for key, value in environment.items() if value}
    command = [str(Path(sys.executable).with_name("mlflow")), *container["command"][1:], *args]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=home / "root", stdout=log, stderr=log, start_new_session=True
        )
        try:
            end = time.monotonic() + 180
            while ask(port, "/health", "10.0.0.7:5000") != 200:
                assert process.poll() is None, (home / "log").read_text()[-2000:]
                assert time.monotonic() < end, (home / "log").read_text()[-2000:]
                time.sleep(0.5)
            yield request.param, port
            assert not list((home / "root").iterdir())  # its working directory is read-only in the container
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def test_it_answers_probes_and_the_names_of_its_service(server):
    overlay, port = server
    password = PASSWORD if overlay == "prod" else None
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    for host in ("mlflow:5000", "mlflow", "mlflow.i2i-unlearn:5000", "mlflow.i2i-unlearn.svc.cluster.local:5000"):
        assert ask(port, path, host, password=password) == 200
    assert ask(port, path, "evil.example.com", password=password) == 403


def test_without_a_log_in_prod_tells_nothing(server):
    overlay, port = server
    answer = ask(port, "/api/2.0/mlflow/experiments/search?max_results=1", "mlflow:5000")
    assert answer == (401 if overlay == "prod" else 200)
