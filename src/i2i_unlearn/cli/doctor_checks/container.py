"""Inside a container: who runs, what may be written, and that nothing is there that only a build needs."""

import contextlib
import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from i2i_unlearn.cli.doctor_checks.base import Line

NEEDED = {
    "steps": ("kfp.dsl.executor_main", "mlflow"),
    "images": ("pandas", "pyarrow.parquet", "PIL.Image"),
    "models": ("transformers", "diffusers", "safetensors.torch"),
    "metrics": ("sklearn", "scipy", "skimage", "torchmetrics", "torch_fidelity", "efficientnet_lite_pytorch"),
    "report": ("jinja2", "matplotlib.pyplot"),
    "an MLflow server": ("boto3", "psycopg2", "flask_wtf"),
    "evidence": ("cryptography", "in_toto_attestation", "model_signing", "securesystemslib"),
}
"""What the steps import, by what it is needed for."""
BUILD_TOOLS = ("cc", "gcc", "g++", "clang", "make", "cmake", "ld")
PIP_CACHES = ("/root/.cache/pip", "~/.cache/pip", "${XDG_CACHE_HOME}/pip")


def container() -> Iterator[Line]:
    """All checks of a container of the image."""
    yield user(os.getuid(), os.getgid())
    yield root_file_system(Path("/"))
    yield writable("temporary folder", Path(_temporary_folder()), "TMPDIR", made=False)
    yield writable("home", Path.home(), "HOME")
    yield writable("cache folder", _cache_folder(), "XDG_CACHE_HOME")
    yield writable("working folder", Path.cwd(), "the mount of the volume")
    yield from imports()
    yield nothing_of_a_build(os.environ.get("PATH", ""), PIP_CACHES)


def user(uid: int, gid: int) -> Line:
    """Root's rights are not needed."""
    if uid == 0:
        return Line("user", "fail", "root", "run as the image's own user or any other number, for example --user 10001")
    return Line("user", "ok", f"{uid}:{gid}")


def root_file_system(root: Path) -> Line:
    """Nothing can be changed in the image's own files."""
    if os.statvfs(root).f_flag & os.ST_RDONLY:
        return Line("root file system", "ok", "read-only")
    return Line(
        "root file system",
        "warn",
        "is writable",
        "run with --read-only --tmpfs /tmp (Kubernetes: readOnlyRootFilesystem and an emptyDir at /tmp)",
    )


def writable(name: str, folder: Path, decided_by: str, *, made: bool = True) -> Line:
    """A file can be made in `folder`; if `made` on demand, in the nearest folder above it that exists."""
    existing = next(path for path in (folder, *folder.parents) if os.path.exists(path)) if made else folder
    try:
        with tempfile.NamedTemporaryFile(dir=existing):
            pass
    except OSError as error:
        advice = f"let {decided_by} name a folder that user {os.getuid()} may write to"
        return Line(name, "fail", f"{folder} is not writable: {error.strerror}", advice)
    return Line(name, "ok", f"{folder} is writable")


def imports() -> Iterator[Line]:
    """What the steps import is here; a line for each purpose."""
    from i2i_unlearn.support.torchvision_compat import ensure_torchvision

    with contextlib.suppress(Exception):  # told below, with what needs torchvision
        ensure_torchvision()
    for purpose, modules in NEEDED.items():
        broken = [reason for module in modules if (reason := _why_not(module))]
        if broken:
            advice = "build the image again from components/Containerfile"
            yield Line(f"for {purpose}", "fail", "; ".join(broken), advice)
        else:
            yield Line(f"for {purpose}", "ok", f"{', '.join(modules)} can be imported")


def nothing_of_a_build(path: str, caches: tuple[str, ...]) -> Line:
    """Neither compilers nor what pip keeps; `path` is the search path for programs."""
    tools = [found for tool in BUILD_TOOLS if (found := shutil.which(tool, path=path))]
    kept = {cache for given in caches if os.path.isdir(cache := os.path.expanduser(os.path.expandvars(given)))}
    if tools or kept:
        found = ", ".join([*tools, *sorted(kept)])
        return Line("left from a build", "fail", found, "copy only the virtual environment into the last stage")
    return Line("left from a build", "ok", "neither build tools nor a pip cache")


def _why_not(module: str) -> str:
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a library does when it is imported
        return f"{module}: {' '.join(str(error).split()) or type(error).__name__}"
    return ""


def _temporary_folder() -> str:
    """What was asked for; `tempfile` would silently skip a folder that is not writable."""
    return os.environ.get("TMPDIR") or "/tmp"


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
