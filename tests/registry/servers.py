"""Real servers on loopback for the tests here: MLflow's, PostgreSQL, an object store, and a connection that is cut."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), Path("/usr/lib/postgresql/none"))
"""Where Debian's package `postgresql` puts its programs: .ci/run installs it."""
START_S = 300  # a busy machine takes minutes


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def url_answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError as error:
        return "CERTIFICATE" in str(error)  # it speaks TLS already
    return True


@contextmanager
def mlflow_server(
    folder: Path,
    *options: str,
    backend: str = "",
    artifacts: str = "",
    scheme: str = "http",
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """`mlflow server` with a database and artifacts of its own; its address."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", backend or f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", artifacts or str(folder / "artifacts"), *options]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_TRACKING")}
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=folder,
            env={**inherited, **quiet, **(environment or {})},
        )
    uri = f"{scheme}://127.0.0.1:{port}"
    try:
        end = time.monotonic() + START_S
        while not url_answers(f"{uri}/health"):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < end, (folder / "server.log").read_text()
            time.sleep(0.3)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def postgres() -> Iterator[str]:
    """Debian's PostgreSQL with a data folder of its own; the address of an empty database."""
    assert POSTGRES.is_dir(), "PostgreSQL is missing: apt-get install postgresql"
    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="i2i-unlearn-postgres-"))  # pytest's own folders are closed to other users
    if os.geteuid() == 0:  # it refuses to run as root
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
    try:
        with _postgres_in(folder, as_user) as uri:
            yield uri
    finally:
        shutil.rmtree(folder)


@contextmanager
def _postgres_in(folder: Path, as_user: list[str]) -> Iterator[str]:
    data, port = folder / "data", free_port()
    init = [*as_user, str(POSTGRES / "initdb"), "-D", str(data), "-U", "mlflow", "--auth=trust", "--no-sync"]
    subprocess.run(init, check=True, capture_output=True, cwd="/")
    options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    command = [*as_user, str(POSTGRES / "postgres"), "-D", str(data), *options, "-c", "fsync=off"]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
    try:
        import psycopg2

        for _ in range(600):
            assert process.poll() is None, (folder / "log").read_text()
            with suppress(psycopg2.OperationalError):
                psycopg2.connect(host="127.0.0.1", port=port, user="mlflow", dbname="postgres").close()
                break
            time.sleep(0.2)
        yield f"postgresql+psycopg2://mlflow:word@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # fast shutdown: its children end, too
        process.wait(timeout=60)


@contextmanager
def object_store(bucket: str) -> Iterator[dict[str, str]]:
    """An S3 server (moto) with an empty bucket; the environment by which clients find it."""
    import boto3
    from moto.server import ThreadedMotoServer

    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    environment = {
        "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            for key, value in environment.items():
                patch.setenv(key, value)
            boto3.client("s3", endpoint_url=environment["MLFLOW_S3_ENDPOINT_URL"]).create_bucket(Bucket=bucket)
        yield environment
    finally:
        server.stop()


class CutConnection:
    """A TCP proxy that counts requests and cuts the connection of some of them.

    `cut(number, answers)` says what becomes of request `number` (from 1): None = nothing, "before" = it never reaches
    the server, "after" = it is done, but the answer is lost.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._count = 0
        self.lines: list[str] = []
        """Method and path of every request since the last `reset`."""
        self._cut = {}
        self._dead_from: int | None = None
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self, cut: Mapping[int, str] | None = None, dead_from: int | None = None) -> None:
        """Start counting again. `cut`: request -> before | after. From request `dead_from` on, nothing goes through."""
        with self._lock:
            self._count, self.lines, self._cut, self._dead_from = 0, [], dict(cut or {}), dead_from

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One request a connection: the answer says that the connection is closed after it."""
        with client, suppress(OSError):
            request = self._read_request(client)
            if not request:
                return
            with self._lock:
                self._count += 1
                self.lines.append(request.partition(b"?")[0].partition(b" HTTP")[0].decode())
                fate = self._cut.get(self._count)
                if self._dead_from is not None and self._count >= self._dead_from:
                    fate = "before"
            if fate == "before":
                return
            with socket.create_connection(self._target) as server:
                server.sendall(request)
                answer = b""
                while chunk := server.recv(65536):
                    answer += chunk
            if fate != "after":
                client.sendall(answer)

    @staticmethod
    def _read_request(client: socket.socket) -> bytes:
        head, content = b"", b""
        while b"\r\n\r\n" not in head:
            chunk = client.recv(65536)
            if not chunk:
                return b""
            head += chunk
        head, _, content = head.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        fields = {key.strip().lower(): value.strip() for key, _, value in (line.partition(b":") for line in lines[1:])}
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            while not content.endswith(b"0\r\n\r\n"):
                content += client.recv(65536)
        else:
            while len(content) < int(fields.get(b"content-length", b"0")):
                content += client.recv(65536)
        return b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + content
