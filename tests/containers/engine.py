"""A Docker daemon and a podman of the tests' own, and the base image that they build on.

Nothing of the machine's is touched: both have folders of their own and make no bridge and no firewall rule; the daemon
ends with the process that started it, whichever way that ends, and podman has none.
"""

import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PYTHON_BASE = "docker.io/library/python:3.11-slim-bookworm"
"""What components/Containerfile builds on; here made of Debian's packages, since no registry may be in reach."""
PACKAGES = {
    **{"dockerd": "docker.io", "debootstrap": "debootstrap", "podman": "podman", "runc": "runc"},
    "netavark": "netavark",  # podman's package is content with another network stack, which `podman` here is not
}
"""A program, and Debian's package that brings it."""
PROGRAMS = f"{os.environ.get('PATH', '')}:/usr/lib/podman"
"""Where they are; netavark is on nobody's PATH."""
SPACE_GIB = 10
"""What an engine may need: an image of two gigabytes is five while it is built."""
SPARE_GIB = 4
"""What must be left for an engine to keep its files in memory. A disk takes minutes to write them, and minutes again to
give the room back."""


class NoEngine(Exception):  # noqa: N818  a reason to skip, not an error
    """This machine can run no containers; the message says why."""


def require_engine() -> None:
    """Install what is missing.

    Raises:
        NoEngine: that cannot be done here, or the kernel does not let this process run containers.
    """
    if os.getuid() != 0:
        raise NoEngine("a Docker daemon needs root")
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program, path=PROGRAMS)]
    if missing:
        if not shutil.which("apt-get"):
            raise NoEngine(f"{' and '.join(missing)} not installed, and there is no apt-get to do it")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            done = _output(["apt-get", "-q", *words], env=environment)
            if done.returncode:
                raise NoEngine(f"apt-get {' '.join(words)} failed: {_last_line(done.stderr)}")
    # What every container needs; refused, for example, in a container without rights of its own.
    allowed = _output(["unshare", "--mount", "--net", "--pid", "--fork", "true"])
    if allowed.returncode:
        raise NoEngine(f"no right to make mounts and network namespaces: {_last_line(allowed.stderr)}")


@contextlib.contextmanager
def engine() -> Iterator[str]:
    """A daemon that has started; its address, for DOCKER_HOST. Afterwards nothing of it is left."""
    folder = _folder()
    address = f"unix://{folder}/docker.sock"
    words = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "-H", address]
    words += ["--pidfile", f"{folder}/dockerd.pid", "--iptables=false", "--bridge=none"]
    log = folder / "dockerd.log"
    with log.open("wb") as file:
        daemon = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "dockerd", *words], stdout=file, stderr=file, start_new_session=True
        )
    try:
        _wait(lambda: _output(["docker", "-H", address, "info"]).returncode == 0, daemon, log)
        yield address
    finally:
        _end(daemon, folder)


@contextlib.contextmanager
def podman() -> Iterator[dict[str, str]]:
    """The environment variables by which podman keeps its files in one folder, of which nothing is left.

    A layer that is being made is in /var/tmp for a moment: with it, the room in memory would not do.
    """
    folder = _folder()
    # runc: crun refuses a kernel that has both versions of control groups. podman gives containers limits that it may
    # have no right to raise its own to.
    settings = {
        "engine": {
            "runtime": "runc",
            "cgroup_manager": "cgroupfs",
            "events_logger": "none",
            "lock_type": "file",
            "tmp_dir": f"{folder}/tmp",
        },
        "network": {"network_backend": "netavark", "network_config_dir": f"{folder}/networks"},
        "containers": {"default_ulimits": ["nofile=4096:4096", "nproc=4096:4096"]},
    }
    storage = {"storage": {"driver": "overlay", "graphroot": f"{folder}/images", "runroot": f"{folder}/run"}}
    for name, content in (("containers.conf", settings), ("storage.conf", storage)):
        (folder / name).write_text(_toml(content))
    try:
        yield {
            "CONTAINERS_CONF": f"{folder}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
            "DOCKER_HOST": f"unix://{folder}/none.sock",  # no Docker answers there
        }
    finally:
        _remove(folder)


def _toml(content: dict[str, dict[str, Any]]) -> str:
    """JSON's texts and lists of texts are TOML's too."""
    lines = []
    for section, entries in content.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in entries.items())]
    return "\n".join(lines)


def _folder() -> Path:
    """Where an engine keeps its files; in memory, if there is enough."""
    folder = Path(tempfile.mkdtemp(prefix="i2i-engine-"))  # short: a socket's path may have 107 characters
    if _free_memory() >= SPACE_GIB + SPARE_GIB << 30:
        _do(["mount", "-t", "tmpfs", "-o", f"size={SPACE_GIB}g,mode=700", "tmpfs", str(folder)])
    return folder


def _free_memory() -> int:
    """Bytes that may be taken without anything being swapped or ended."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) << 10


def _wait(is_ready: Callable[[], bool], daemon: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while not is_ready():
        if daemon.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"dockerd did not start:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.2)


def _end(daemon: subprocess.Popen[bytes], folder: Path) -> None:
    """End the daemon, which ends its containers, and remove all that it made."""
    daemon.terminate()
    try:
        daemon.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(daemon.pid, 9)
        daemon.wait()
    _remove(folder)


def _remove(folder: Path) -> None:
    for mount in sorted((mount for mount in _mounts() if f"{mount}/".startswith(f"{folder}/")), reverse=True):
        _unmount(mount)  # Docker leaves exec/netns/default, podman its images
    shutil.rmtree(folder)
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(folder).encode() in _read(path)]
    assert not left, f"still running after the engine's end: {left}"


def _mounts() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _unmount(mount: str) -> None:
    """Also where podman's own cleaning up after a container, which nobody waits for, still goes on."""
    until = time.monotonic() + 60
    while (done := _output(["umount", mount])).returncode and mount in _mounts():
        assert time.monotonic() < until, done.stderr
        time.sleep(0.2)


def _read(path: Path) -> bytes:
    """Empty where the process has just ended."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def make_base(address: str) -> None:
    """Give the daemon a Debian with Python under the name `PYTHON_BASE`."""
    with tempfile.TemporaryDirectory(dir=Path(address.removeprefix("unix://")).parent) as folder:
        root = Path(folder, "root")
        bootstrap = ["debootstrap", "--variant=minbase", "--include=python3-venv,ca-certificates", "bookworm"]
        _do([*bootstrap, str(root)])
        _do(["tar", "-C", str(root), "-cf", f"{folder}/root.tar", "."])
        _do(["docker", "-H", address, "import", f"{folder}/root.tar", PYTHON_BASE])


@contextlib.contextmanager
def packages_as_here(address: str) -> Iterator[None]:
    """Let pip find, inside a build on `PYTHON_BASE` with the host's network, the packages that pip finds here.

    How pip reaches them (indexes, certificates, a proxy) is a matter of this machine. So pip fetches them here, as for
    `make setup`, and a build is pointed at them by the base image: the product's Containerfile knows nothing of it.
    """
    assert sys.version_info[:2] == (3, 11), "PYTHON_BASE has Python 3.11, and the packages are fetched for this Python"
    (extras,) = re.findall(r"\*\.whl\)(\[[a-z,]+\])", (ROOT / "components/Containerfile").read_text())
    with tempfile.TemporaryDirectory() as packages, _served(Path(packages)) as url:
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "-w", packages]
        _do([*pip, "-c", str(ROOT / "constraints.txt"), "hatchling", f"{ROOT}{extras}"])
        with tempfile.TemporaryDirectory() as context:
            Path(context, "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {url}/\n")
            Path(context, "Dockerfile").write_text(f"FROM {PYTHON_BASE}\nCOPY pip.conf /etc/pip.conf\n")
            build = ["build", "--network", "none", "-q", "-t", PYTHON_BASE, context]
            _do(["docker", "-H", address, *build], env=os.environ | {"DOCKER_BUILDKIT": "0"})
        yield


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def _do(words: list[str], **kwargs: Any) -> str:
    done = _output(words, **kwargs)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def _output(words: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **kwargs)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
