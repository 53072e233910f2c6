"""What is in the image, and how it runs."""

import json
import re
import subprocess

import pytest

from i2i_unlearn import __version__
from tests.containers.conftest import try_make_image
from tests.containers.engine import ROOT

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]  # the first test builds the image

CLOSED = {"network_mode": "none", "read_only": True, "tmpfs": {"/tmp": "", "/workspace": ""}, "remove": True}


def doctor(client, image, **options) -> dict[str, dict[str, str]]:
    """The lines of `doctor --in-container` by name."""
    # sh: its exit code is 1 where a line says fail, which docker's client would make an error of its own.
    words = ["sh", "-c", "i2i-unlearn doctor --in-container --json || true"]
    printed = client.containers.run(image, words, **(CLOSED | options))
    return {line["name"]: line for line in json.loads(printed)}


def states(lines) -> dict[str, str]:
    return {name: line["state"] for name, line in lines.items() if line["state"] != "ok"}


def test_over_a_read_only_root_and_without_root_nothing_is_amiss(client, image):
    lines = doctor(client, image)
    assert states(lines) == {}
    assert lines["user"]["found"] == "10001:10001"
    assert lines["root file system"]["found"] == "read-only"


def test_any_number_may_be_the_user(client, image):
    assert states(doctor(client, image, user="4711:4711")) == {}


def test_root_and_a_root_that_can_be_written_to_are_found(client, image):
    lines = doctor(client, image, user="0:0", read_only=False)
    assert states(lines) == {"user": "fail", "root file system": "warn"}


def test_a_working_folder_and_a_temporary_folder_that_cannot_be_written_to_are_found(client, image):
    lines = doctor(client, image, tmpfs={})
    assert {"temporary folder", "home", "cache folder", "working folder"} <= set(states(lines))
    assert states(lines)["working folder"] == "fail"


def test_home_caches_and_temporary_files_go_where_they_are_sent(client, image):
    wanted = {"TMPDIR": "/scratch", "HOME": "/scratch", "XDG_CACHE_HOME": "/scratch/cache"}
    lines = doctor(client, image, tmpfs={"/scratch": "", "/workspace": ""}, environment=wanted)
    assert states(lines) == {}
    assert lines["cache folder"]["found"].startswith("/scratch/cache ")


def test_every_package_has_the_version_of_the_constraints(client, image):
    program = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
    )
    found = json.loads(client.containers.run(image, ["python3", "-c", program], **CLOSED))
    pins = dict(re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    wanted = {name.lower().replace("_", "-").replace(".", "-"): version for name, version in pins.items()}
    others = {}
    for name, version in found.items():
        if wanted.get(name.lower().replace("_", "-").replace(".", "-")) != version.partition("+")[0]:
            others[name] = version
    assert others == {"i2i-unlearn": __version__}  # and so no pip


def test_the_image_says_what_it_is(client, image):
    attributes = client.images.get(image).attrs
    labels = {
        name.removeprefix("org.opencontainers.image."): value for name, value in attributes["Config"]["Labels"].items()
    }
    assert attributes["Config"]["User"] == "10001:10001"
    assert attributes["Config"]["WorkingDir"] == "/workspace"
    assert (labels["title"], labels["version"], labels["licenses"]) == ("i2i-unlearn", __version__, "Apache-2.0")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert labels["revision"].removesuffix("-dirty") == head.strip()
    assert labels["base.name"] == "docker.io/library/python:3.11-slim-bookworm"


def test_nobody_but_root_could_change_the_program(client, image):
    words = ["sh", "-c", "find /opt/venv /opt/i2i-unlearn '(' -user 10001 -o -perm -o+w ')' -not -type l | head -3"]
    assert client.containers.run(image, words, **CLOSED) == b""


@pytest.mark.parametrize("words", [["python3", "-m", "pip", "--version"], ["cc", "--version"]])
def test_nothing_can_be_installed_or_built(client, image, words):
    # sh: a program that is not there is another error to docker's client than one that fails.
    printed = client.containers.run(image, ["sh", "-c", f"{' '.join(words)} 2>&1 || true"], **CLOSED).decode()
    assert "No module named pip" in printed or "not found" in printed


def test_an_image_for_gpus_without_torch_for_them_is_told_when_it_is_made(address, client, image):
    name = "i2i-unlearn:for-gpus"
    done = try_make_image("TARGET=gpu", f"IMAGE={name}", DOCKER_HOST=address, DOCKER_BUILDKIT="0")
    assert done.returncode == 2
    assert re.search(r"^fail +torch .*the image is for GPUs, and torch .*\+cpu is not", done.stdout, re.MULTILINE)
    assert "make image TARGET=gpu TORCH_INDEX=ADDRESS" in done.stdout
    variables = client.images.get(name).attrs["Config"]["Env"]
    assert {"I2I_UNLEARN_IMAGE_TARGET=gpu", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"} <= set(variables)
