"""One Docker daemon, one base image, and one image for all tests of this folder."""

import os
import subprocess
from collections.abc import Iterator

import docker
import pytest

from i2i_unlearn import __version__
from tests.containers.engine import ROOT, NoEngine, engine, make_base, packages_as_here, require_engine

IMAGE = f"i2i-unlearn:{__version__}"


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Of the daemon, for DOCKER_HOST."""
    try:
        require_engine()
    except NoEngine as reason:
        pytest.skip(f"no container can be run on this machine: {reason}")
    with engine() as address:
        yield address


@pytest.fixture(scope="session")
def base(address) -> Iterator[None]:
    """The image to build on, and the packages that its pip finds."""
    make_base(address)
    with packages_as_here(address):
        yield


def try_make_image(*settings: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`make image`: the build, and its look at the image."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("I2I_UNLEARN_", "ENGINE"))}
    return subprocess.run(
        ["make", "--no-print-directory", "image", "BUILD_ARGS=--network host", *settings],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def make_image(**environment: str) -> str:
    """What it prints where nothing is amiss."""
    done = try_make_image(**environment)
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def image(address, base) -> str:
    """The image, as `make image` builds it and looks at it."""
    assert "\ndocker run " in make_image(DOCKER_HOST=address, DOCKER_BUILDKIT="0")
    return IMAGE


@pytest.fixture(scope="session")
def client(address) -> Iterator[docker.DockerClient]:
    connected = docker.DockerClient(base_url=address)
    yield connected
    connected.close()
