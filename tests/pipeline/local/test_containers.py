"""Steps in containers without a real Docker: options, and a run that is stopped; tests/containers has the real one."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import docker
import pytest

from i2i_unlearn.pipeline.local.containers import (
    Containers,
    _mounts,
    _none_left,
    _user,
    run_container,
    whole_lines,
)
from i2i_unlearn.pipeline.local.processes import KILLED
from i2i_unlearn.pipeline.local.runner import gpus_of, parse_params, read_package
from i2i_unlearn.support.errors import UserError
from tests.pipeline.cluster.http_stub import Reply, Stub
from tests.support.says import says

PACKAGE = Path(__file__).parents[3] / "pipelines/unlearning.yaml"


def test_images_and_keys_are_read_only_and_a_link_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / ".secrets").symlink_to(tmp_path)
    assert list(_mounts(tmp_path, Containers())) == [
        (str(tmp_path), str(tmp_path), False),
        (f"{tmp_path}/data", f"{tmp_path}/data", True),
    ]


def test_what_is_mounted_beside_is_read_only_and_must_be_there(tmp_path):
    (tmp_path / "more").mkdir()
    *_, more = _mounts(tmp_path, Containers(mounts=(tmp_path / "more",)))
    assert more == (f"{tmp_path}/more", f"{tmp_path}/more", True)
    with pytest.raises(UserError, match=r"--mount .*/none: no such file or folder"):
        list(_mounts(tmp_path, Containers(mounts=(tmp_path / "none",))))


@pytest.mark.parametrize("folder", ["/", "/tmp", "/opt"])
def test_a_folder_that_would_hide_the_image_is_refused(folder):
    with pytest.raises(UserError, match="would hide"):
        list(_mounts(Path(folder), Containers()))


@pytest.mark.skipif(os.getuid() != 0, reason="this user is not root")
def test_root_runs_the_steps_as_the_owner_of_the_folder_and_never_as_root(tmp_path):
    with pytest.raises(UserError, match=f"never runs steps as root.* chown -R 10001:10001 {tmp_path}"):
        _user(tmp_path)
    os.chown(tmp_path, 4711, 4712)
    assert _user(tmp_path) == (4711, 4712)


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "i2i_unlearn.cli.main", "pipeline", "run", "--package", str(PACKAGE), *words]
    environment = os.environ | {"DOCKER_HOST": f"unix://{folder}/none.sock"}
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_without_docker_there_is_one_line(tmp_path):
    if os.getuid() == 0:
        os.chown(tmp_path, 10001, 10001)
    done = command(tmp_path, "--runner", "docker")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("i2i-unlearn: error: Docker: ")
    assert "docker info" in done.stderr
    assert not (tmp_path / "artifacts").exists()


def test_options_of_containers_without_containers_are_refused(tmp_path):
    done = command(tmp_path, "--network", "host")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "add --runner docker" in done.stderr


@pytest.mark.parametrize(
    ("params", "count"),
    [([], 0), (["accelerator_count=0"], 0), (["accelerator_count=two"], 0), (["accelerator_count=2"], 2)],
)
def test_the_steps_get_as_many_gpus_as_the_form_asks_for(params, count):
    spec = read_package(PACKAGE)
    assert gpus_of(spec, parse_params(params, spec)) == count


def test_accelerators_that_docker_does_not_know_are_refused():
    spec = read_package(PACKAGE)
    for executor in spec["deploymentSpec"]["executors"].values():
        if resources := executor["container"].get("resources"):
            resources["accelerator"]["resourceType"] = "amd.com/gpu"
    with says(UserError, "cluster.accelerator_type='amd.com/gpu'", "accelerator_count=0"):
        gpus_of(spec, {"accelerator_count": "1"})
    assert gpus_of(spec, {"accelerator_count": "0"}) == 0


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_are_whole_however_they_arrive(size):
    text = "eins\nzw\u00f6lf\n\nthe end".encode()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(whole_lines([])) == []
    assert [line.decode() for line in whole_lines([b"", *pieces, b""])] == ["eins\n", "zw\u00f6lf\n", "\n", "the end"]


def test_a_line_is_there_before_the_next_piece_is():
    def pieces():
        yield b"first\nsec"
        raise ConnectionAbortedError

    lines = whole_lines(pieces())
    assert next(lines) == b"first\n"
    with pytest.raises(ConnectionAbortedError):
        next(lines)


# --- a run that is stopped, against a stub of Docker's HTTP API ---


class DockerStub(Stub):
    """Containers that run until they are removed."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = nullcontext()  # a log waits while other requests are answered
        self.made: list[str] = []
        self.there: set[str] = set()
        self.running = threading.Semaphore(0)
        self.changed = threading.Condition()
        self.on_create = lambda: None
        self.listed_too: list[str] = []
        """Ids that a list still names and that are gone when asked for."""

    def handle(self, method: str, path: str, *_: object) -> object:
        match [method, *path.strip("/").split("/")[1:]]:
            case ["POST", "containers", "create"]:
                with self.changed:
                    name = f"c{len(self.made)}"
                    self.made.append(name)
                    self.there.add(name)
                self.on_create()
                raise Reply(201, {"Id": name, "Warnings": []})
            case ["GET", "containers", "json"]:
                return [{"Id": name} for name in [*sorted(self.there), *self.listed_too]]
            case [_, "containers", name, *_] if name not in self.there:
                raise Reply(404, {"message": f"No such container: {name}"})
            case ["GET", "containers", name, "json"]:
                return {"Id": name, "Config": {"Tty": True}}
            case ["POST", "containers", _, "start"]:
                self.running.release()
                raise Reply(204, b"")
            case ["GET", "containers", name, "logs"]:
                with self.changed:
                    self.changed.wait_for(lambda: name not in self.there, 20)
                raise Reply(200, b"")
            case ["DELETE", "containers", name]:
                with self.changed:
                    self.there.discard(name)
                    self.changed.notify_all()
                raise Reply(204, b"")
            case ["POST", "containers", _, "wait"]:
                return {"StatusCode": 0}
        raise Reply(400, {"message": f"not known here: {method} {path}"})

    @contextmanager
    def client(self) -> Iterator[docker.DockerClient]:
        with self.served(), closing(docker.DockerClient(self.url.replace("http", "tcp"), version="1.43")) as client:
            yield client


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_waits_in_a_loop_s_queue_is_not_begun_after_a_stop(number):
    stub, stopped = DockerStub(), threading.Event()

    def stop() -> None:
        for _ in range(2):
            assert stub.running.acquire(timeout=20)
        time.sleep(0.1)
        os.kill(os.getpid(), number)

    with stub.client() as client:
        item = partial(run_container, client, "image", ["true"], {}, stopped=stopped)
        stopper = threading.Thread(target=stop)
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt), _none_left(client, "a-run", stopped):  # noqa: PT012  as kfp has it
            pool = ThreadPoolExecutor(max_workers=2)  # as kfp's ParallelExecutor, which waits for what is queued
            try:
                futures = [pool.submit(item) for _ in range(6)]
                stopper.start()
                for future in futures:
                    future.exception()
            finally:
                pool.shutdown(wait=True)
        stopper.join()
    assert time.monotonic() - begun < 15
    assert (len(stub.made), stub.there) == (2, set())
    assert [future.result() for future in futures[2:]] == [KILLED] * 4


def test_a_container_that_was_being_made_during_the_stop_is_removed_at_once():
    stub, stopped = DockerStub(), threading.Event()
    stub.on_create = stopped.set
    with stub.client() as client:
        assert run_container(client, "image", ["true"], {}, stopped=stopped) == KILLED
    assert (len(stub.made), stub.there) == (1, set())


def test_a_container_that_vanishes_while_they_are_listed_is_no_error():
    stub = DockerStub()
    stub.there, stub.listed_too = {"left"}, ["gone"]
    with stub.client() as client, _none_left(client, "a-run", threading.Event()):
        pass
    assert stub.there == set()
