"""The whole pipeline in containers of the image, on tiny settings: the weights that processes of this machine make.

What the image may do is read from Docker while the steps run, and asked by a step of its own.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from i2i_unlearn.pipeline.local.containers import IMAGE_USER, LABEL
from tests.containers.conftest import IMAGE
from tests.stages.test_three_doors import BIN, environment, make_project, run

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]  # the first test builds the image


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def probe(data: str) -> dict:
    import contextlib
    import os
    from pathlib import Path

    writable = []
    for folder in ("/", "/opt/venv", "/workspace", "/tmp", ".", data):
        with contextlib.suppress(OSError):
            (Path(folder) / "probe").write_text("")
            (Path(folder) / "probe").unlink()
            writable.append(folder)
    status = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return {
        "user": f"{os.getuid()}:{os.getgid()}",
        "writable": writable,
        "networks": sorted(os.listdir("/sys/class/net")),
        "capabilities": int(status["CapBnd"], 16) + int(status["CapEff"], 16),
        "no_new_privileges": status["NoNewPrivs"],
        "folder": os.getcwd(),
    }


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fail(message: str):
    import os
    import sys

    print(message, flush=True)
    os._exit(7) if message else sys.exit(0)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def sleep(seconds: float):
    import time

    print("sleeping", flush=True)
    time.sleep(seconds)


@dsl.component(base_image="i2i-unlearn:of-nobody", install_kfp_package=False)
def stranger():
    pass


def compiled(component, folder: Path) -> str:
    """A pipeline of one step."""

    @dsl.pipeline(name=f"one-{component.name}")
    def one():
        arguments = {"probe": {"data": "data"}, "fail": {"message": "ünfinished"}, "sleep": {"seconds": 600.0}}
        component(**arguments.get(component.name, {}))

    compiler.Compiler().compile(one, str(folder / f"{component.name}.yaml"))
    return f"{component.name}.yaml"


def command(folder: Path, address: str, *words: str) -> subprocess.Popen[str]:
    """`pipeline run --runner docker` of this folder."""
    program = [str(BIN / "i2i-unlearn"), "pipeline", "run", "--runner", "docker", "--out", "runs", *words]
    return subprocess.Popen(
        program,
        cwd=folder,
        env=environment(folder) | {"DOCKER_HOST": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Watch:
    """What Docker says of every container of a run when it has made it, until the context ends."""

    def __init__(self, client) -> None:
        self._client = client
        self._thread = threading.Thread(target=self._look)
        self.seen: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> "Watch":
        # Told, not asked for again and again: a short step would be gone before it is looked for.
        filters = {"type": "container", "event": "create", "label": LABEL}
        self._made = self._client.events(decode=True, filters=filters)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()
        self._thread.join()

    def _look(self) -> None:
        for event in self._made:
            self.seen[event["id"]] = self._client.api.inspect_container(event["id"])


@dataclass(frozen=True)
class Runs:
    """A run of the same package by each runner."""

    docker: Path
    docker_home: Path
    by_process: Path
    containers: dict[str, dict[str, Any]]
    told: str


def make_home(project: Path, home: Path) -> Path:
    """A folder with all that a run reads, and nothing of the project's code."""
    shutil.copytree(project / "data", home / "data")
    shutil.copytree(project / ".secrets", home / ".secrets")
    shutil.copytree(project / "artifacts/original/model", home / "original")
    shutil.copy(project / "package.yaml", home)
    run(home, "i2i-unlearn", "register", "--original", "original", "--params", str(project / "params.yaml"))
    return home


def give(folder: Path) -> None:
    """Make the folder the image's user's, as docs/containers.md says."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, IMAGE_USER, IMAGE_USER, follow_symlinks=False)


@pytest.fixture(scope="module")
def runs(address, image, client, tmp_path_factory) -> Runs:
    project = tmp_path_factory.mktemp("project")
    make_project(project)
    run(project, "i2i-unlearn", "pretrain", "--out", "artifacts/original")
    run(project, "i2i-unlearn", "pipeline", "compile", "--out", "package.yaml")
    homes = [make_home(project, tmp_path_factory.mktemp(name)) for name in ("docker", "processes")]
    give(homes[0])
    params = ["--param", "model=original", "--param", "promote=on pass"]
    with Watch(client) as watch, ThreadPoolExecutor(1) as pool:
        options = ["--runner", "subprocess", "--package", "package.yaml", "--out", "runs", *params]
        beside = pool.submit(run, homes[1], "i2i-unlearn", "pipeline", "run", *options)
        process = command(homes[0], address, "--package", "package.yaml", *params)
        printed, told = process.communicate()
        beside.result()
    assert process.returncode == 0, f"{printed}\n{told}"
    found = [next((home / "runs").glob("*/unlearning-*")) for home in homes]
    return Runs(docker=found[0], docker_home=homes[0], by_process=found[1], containers=watch.seen, told=told)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_containers_make_the_same_unlearned_weights_as_processes(runs):
    weights = [place / "unlearn/unlearned/model/model.safetensors" for place in (runs.docker, runs.by_process)]
    teacher = runs.docker / "snapshot/teacher/model/model.safetensors"
    assert digest(weights[0]) == digest(weights[1]) != digest(teacher)


def test_every_step_ran_without_root_over_read_only_files_and_without_a_network(runs):
    started = runs.told.count(": started\n")
    assert len(runs.containers) == started >= 11
    for attributes in runs.containers.values():
        host, config = attributes["HostConfig"], attributes["Config"]
        assert config["Image"] == IMAGE
        assert config["User"] == f"{IMAGE_USER}:{IMAGE_USER}"
        assert (host["ReadonlyRootfs"], host["NetworkMode"], host["Privileged"]) == (True, "none", False)
        assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])


def test_steps_change_neither_images_nor_keys(runs):
    mounts = [mount for attributes in runs.containers.values() for mount in attributes["Mounts"]]
    writable = {mount["Destination"]: mount["RW"] for mount in mounts}
    assert writable[str(runs.docker_home)]
    assert not writable[str(runs.docker_home / "data")]
    assert not writable[str(runs.docker_home / ".secrets")]


def test_what_ran_in_containers_is_promoted_and_can_be_used_outside(runs, tmp_path):
    intent, done = map(json.loads, (runs.docker_home / "promotions.jsonl").read_text().splitlines())
    assert (intent["version"], done["event"]) == ("2", "done")
    words = ["registry", "check", "--params", str(next(runs.docker_home.parent.glob("project*")) / "params.yaml")]
    run(runs.docker_home, "i2i-unlearn", *words)  # fails if the champion's files are not where MLflow says


def test_all_that_the_steps_wrote_belongs_to_their_user(runs):
    written = [path for path in runs.docker_home.rglob("*") if path.name != "log.txt" and "runs" in path.parts]
    assert {path.stat().st_uid for path in written if path.is_file()} == {IMAGE_USER}


@pytest.fixture
def home(tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    give(tmp_path)
    return tmp_path


def test_a_step_sees_no_network_and_can_write_to_its_folder_and_temporary_files_alone(home, address, image):
    process = command(home, address, "--package", compiled(probe, home))
    assert process.wait() == 0, process.stderr.read()
    (output,) = home.glob("runs/*/one-probe-*/probe/executor_output.json")
    found = json.loads(output.read_text())["parameterValues"]["Output"]
    assert found == {
        "user": f"{IMAGE_USER}:{IMAGE_USER}",
        "writable": ["/tmp", "."],
        "networks": ["lo"],
        "capabilities": 0,
        "no_new_privileges": "1",
        "folder": str(home),
    }


def test_a_step_that_fails_at_once_is_never_taken_for_one_that_succeeded(home, address, image):
    package = compiled(fail, home)
    for _ in range(5):
        process = command(home, address, "--package", package)
        _, told = process.communicate()
        assert process.returncode == 1
        assert "the step 'fail' crashed" in told
    assert all("ünfinished" in log.read_text() for log in home.glob("runs/*/log.txt"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_no_container(home, address, image, client, number):
    process = command(home, address, "--package", compiled(sleep, home))
    until = time.monotonic() + 60
    while not client.containers.list(filters={"label": LABEL}, ignore_removed=True):
        assert time.monotonic() < until
        time.sleep(0.2)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "i2i-unlearn: stopped: run the same command again to continue"
    assert client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True) == []


def test_an_image_that_is_not_there_is_one_line(home, address, image):
    process = command(home, address, "--package", compiled(stranger, home))
    _, told = process.communicate()
    line = "the package names the image i2i-unlearn:of-nobody, which Docker does not have; build it with `make image`"
    assert process.returncode == 1
    assert told.startswith(f"i2i-unlearn: error: {line}")
