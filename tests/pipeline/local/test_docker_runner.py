"""Steps in containers, as far as no container is needed; tests/containers has the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from i2i_unlearn.pipeline.local.containers import Containers, _mounts, _user
from i2i_unlearn.pipeline.local.runner import gpus_of, parse_params, read_package
from i2i_unlearn.support.errors import UserError

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
    with pytest.raises(UserError) as caught:
        gpus_of(spec, {"accelerator_count": "1"})
    assert all(word in str(caught.value) for word in ("cluster.accelerator_type='amd.com/gpu'", "accelerator_count=0"))
    assert gpus_of(spec, {"accelerator_count": "0"}) == 0
