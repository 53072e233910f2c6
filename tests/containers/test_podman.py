"""The image built and run by podman, where no Docker answers."""

import json
import os
import re
import subprocess
from typing import Any

import pytest

from i2i_unlearn import __version__
from tests.containers.conftest import IMAGE, make_image
from tests.containers.engine import PYTHON_BASE, podman

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]  # it builds the image a second time

CLOSED = ["--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--tmpfs", "/workspace"]


@pytest.fixture(scope="module")
def settings(address, base):
    """Environment variables of a podman that has the base image."""
    with podman() as settings:
        with subprocess.Popen(["docker", "-H", address, "save", PYTHON_BASE], stdout=subprocess.PIPE) as saved:
            loaded = run(settings, "load", stdin=saved.stdout)
        assert saved.returncode == loaded.returncode == 0, loaded.stderr
        # Docker writes its own registry's names without the registry, and podman reads them as its own.
        (name,) = re.findall(r"^Loaded image: (\S+)$", loaded.stdout, re.MULTILINE)
        assert run(settings, "tag", name, PYTHON_BASE).returncode == 0
        yield settings


@pytest.fixture(scope="module")
def told(settings) -> str:
    return make_image(**settings)


def run(settings: dict[str, str], *words: str, stdin: Any = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    environment = os.environ | settings
    return subprocess.run(["podman", *words], stdin=stdin, env=environment, capture_output=True, text=True, check=False)


def test_where_no_docker_answers_podman_builds_the_image_and_finds_nothing_amiss(told):
    build, look = told.split("\npodman run ")
    assert build.startswith("podman build --file components/Containerfile ")
    states = re.findall(r"^(ok|warn|fail)\b", look, re.MULTILINE)
    assert len(states) > 10
    assert set(states) == {"ok"}


def test_it_is_the_same_image_by_its_labels_and_its_user(settings, told):
    (found,) = json.loads(run(settings, "inspect", IMAGE).stdout)
    labels = {name.rpartition(".")[2]: value for name, value in found["Config"]["Labels"].items()}
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"]["WorkingDir"] == "/workspace"
    assert (labels["title"], labels["name"]) == ("i2i-unlearn", PYTHON_BASE)
    assert found["Config"]["Labels"]["org.opencontainers.image.version"] == __version__


def test_any_number_may_be_the_user_and_root_is_found(settings, told):
    other = run(settings, "run", *CLOSED, "--user", "4711:4711", IMAGE)
    assert (other.returncode, re.findall(r"^(?:warn|fail).*", other.stdout, re.MULTILINE)) == (0, [])
    root = run(settings, "run", *CLOSED, "--user", "0:0", IMAGE)
    assert root.returncode == 1
    assert re.search(r"^fail +user ", root.stdout, re.MULTILINE)
