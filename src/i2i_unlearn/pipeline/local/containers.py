"""The steps of a local run in containers: without root, over read-only files, by default without a network.

kfp.local's DockerRunner mounts the run's folder alone. Here the current folder is added, under the path that it has
outside: a path means the same to the user and to the steps, also the absolute ones in mlflow.db.
"""

import contextlib
import dataclasses
import functools
import os
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from i2i_unlearn.pipeline.local.processes import KILLED, stopped_by_signals
from i2i_unlearn.support.errors import UserError

LABEL = "i2i-unlearn.run"
"""Every container has it; the value is the run's own."""
READ_ONLY = ("data", ".secrets")
"""Folders in the current one that no step changes."""
HANDED_ON = ("MLFLOW_", "AWS_", "I2I_UNLEARN_")
"""Prefixes of the environment variables that the steps get."""
OF_THE_IMAGE = (Path("/tmp"), Path("/opt/venv"), Path("/opt/i2i-unlearn"))
IMAGE_USER = 10001
SHARED_MEMORY = "1g"
"""Size limit of /dev/shm, for a step with GPUs."""


@dataclasses.dataclass(frozen=True)
class Containers:
    """How the containers of a run differ from the default."""

    network: str = "none"
    """`none`, or `host`: that of this machine."""
    mounts: tuple[Path, ...] = ()
    """What the steps read outside the current folder; they see it under the same path and cannot change it."""
    gpus: int = 0
    """Number per step."""


@contextlib.contextmanager
def docker_runner(spec: Mapping[str, Any], settings: Containers) -> Iterator[Any]:
    """kfp.local's DockerRunner for the package `spec`; no container outlives it.

    Raises:
        UserError: there is no Docker, the image is not there, the current folder belongs to root, or Docker does
            not have as many GPUs; also if Docker refuses a container of the run.
    """
    try:
        import docker
    except ModuleNotFoundError:
        raise UserError("docker is not installed; install it with `pip install 'i2i-unlearn[kfp]'`") from None
    from kfp import local
    from kfp.local import docker_task_handler

    home = Path.cwd()
    user, group = _user(home)
    run = uuid.uuid4().hex
    options: dict[str, Any] = {
        "user": f"{user}:{group}",
        "read_only": True,
        "tmpfs": {"/tmp": ""},
        "network_mode": settings.network,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "working_dir": str(home),
        "mounts": [
            docker.types.Mount(*mount, type="bind", read_only=fixed) for *mount, fixed in _mounts(home, settings)
        ],
        "environment": {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)},
        "labels": {LABEL: run},
        **gpu_options(settings.gpus),
    }
    kept = docker_task_handler.run_docker_container
    stopped = threading.Event()
    try:
        client = docker.from_env()
        try:
            images = _require_images(client, spec)
            docker_task_handler.run_docker_container = functools.partial(run_container, stopped=stopped)
            with _none_left(client, run, stopped):
                if settings.gpus:
                    _require_gpus(client, images[0], settings.gpus, options)
                yield local.DockerRunner(**options)
        finally:
            docker_task_handler.run_docker_container = kept
            client.close()
    except docker.errors.DockerException as error:
        told = getattr(error, "explanation", None) or error
        raise UserError(
            f"Docker: {' '.join(str(told).split())}; check that `docker info` works, then run again"
        ) from None


def hand_over(folder: Path, runner: Any) -> None:
    """Let the steps of `runner` write to `folder`, which the caller has made."""
    if os.getuid() == 0:
        user, group = map(int, runner.container_run_args["user"].split(":"))
        os.chown(folder, user, group)


def run_container(
    client: Any,
    image: str,
    command: Sequence[str],
    volumes: Mapping[str, Any],
    *,
    stopped: threading.Event,
    **options: Any,
) -> int:
    """Run `command` to its end, print what it prints, remove the container; return its exit code.

    Once `stopped` is set, nothing is begun: kfp still hands in every item that waits in a loop's queue.

    Replaces kfp.local 2.17's own, which lets Docker remove the container: if that happens before the exit code is
    read, a failed step counts as succeeded.
    """
    import docker

    if stopped.is_set():
        return KILLED
    container = client.containers.run(image, command, detach=True, volumes=volumes, **options)
    try:
        if stopped.is_set():  # it may have come after the others were removed
            return KILLED
        for line in whole_lines(container.logs(stream=True)):
            print(line.decode(errors="replace").removesuffix("\n"))
        return int(container.wait()["StatusCode"])
    finally:
        with contextlib.suppress(docker.errors.NotFound):
            container.remove(force=True)


def whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Each line with its newline as soon as it is whole; what remains at the end without one.

    Pieces may end within a line or within a letter, so decode the lines and not the pieces.
    """
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest


def _user(home: Path) -> tuple[int, int]:
    """Numbers of the user and the group that the steps run as: the caller's, for root those of the current folder."""
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    owner = home.stat()
    if owner.st_uid == 0:
        raise UserError(
            f"--runner docker never runs steps as root, and {home} belongs to root; run it as another user, or "
            f"change the owner: chown -R {IMAGE_USER}:{IMAGE_USER} {home}"
        )
    return owner.st_uid, owner.st_gid


def _mounts(home: Path, settings: Containers) -> Iterator[tuple[str, str, bool]]:
    """The path inside, the path outside, and whether it is read-only."""
    for place in OF_THE_IMAGE:
        if home == place or home in place.parents:
            raise UserError(
                f"--runner docker mounts {home}, which would hide {place} of the image; run from another folder"
            )
    yield str(home), str(home), False
    for path in (home / name for name in READ_ONLY):
        if path.is_dir() and not path.is_symlink():
            yield str(path), str(path), True
    for path in map(Path.absolute, settings.mounts):
        if not path.exists():
            raise UserError(f"--mount {path}: no such file or folder; correct the path")
        yield str(path), str(path), True


def gpu_options(count: int) -> dict[str, Any]:
    """Docker's options for `count` GPUs; none for 0."""
    if not count:
        return {}
    from docker.types import DeviceRequest

    # Processes of one step hand each other their gradients through /dev/shm, where Docker gives 64 MB.
    return {"device_requests": [DeviceRequest(count=count, capabilities=[["gpu"]])], "shm_size": SHARED_MEMORY}


def _require_gpus(client: Any, image: str, count: int, options: Mapping[str, Any]) -> None:
    """Raise UserError unless Docker starts a container with `count` GPUs: there is no other way to ask."""
    import docker

    def start(options: Mapping[str, Any]) -> None:
        container = client.containers.run(image, ["true"], detach=True, **options)
        container.wait()
        container.remove(force=True)

    try:
        start(options)
    except docker.errors.APIError as error:
        start(
            {key: value for key, value in options.items() if key not in gpu_options(count)}
        )  # else it is not the GPUs
        told = " ".join(str(error.explanation or error).split())
        wanted = "a GPU" if count == 1 else f"{count} GPUs"
        raise UserError(
            f"accelerator_count={count}: Docker gives no container {wanted} ({told}); check that `nvidia-smi` shows "
            "them and that NVIDIA's container toolkit is installed, or set accelerator_count=0"
        ) from None


def _require_images(client: Any, spec: Mapping[str, Any]) -> list[str]:
    """The images of the steps. A missing one is not fetched: the user decides where it comes from."""
    import docker

    executors = spec["deploymentSpec"]["executors"].values()
    images = sorted({executor["container"]["image"] for executor in executors if "container" in executor})
    for image in images:
        try:
            client.images.get(image)
        except docker.errors.ImageNotFound:
            raise UserError(
                f"the package names the image {image}, which Docker does not have; build it with `make image`, or "
                f"fetch it with `docker pull {image}`"
            ) from None
    return images


@contextlib.contextmanager
def _none_left(client: Any, run: str, stopped: threading.Event) -> Iterator[None]:
    """Remove what is left of the run's containers; at once when the run is to stop: kfp waits for a loop's."""
    import docker

    def remove() -> None:
        ours = {"label": f"{LABEL}={run}"}
        for container in client.containers.list(all=True, filters=ours, ignore_removed=True):
            with contextlib.suppress(docker.errors.APIError):  # it is being removed
                container.remove(force=True)

    def stop() -> None:
        stopped.set()
        remove()

    try:
        with stopped_by_signals(stop):
            yield
    finally:
        remove()
