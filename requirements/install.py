"""Install what the lock names into the Python that runs this: with uv, or with pip where uv cannot do it.

    .venv/bin/python requirements/install.py [auto|cpu|cuda]

The lock: packages.lock, and one of torch.lock (the build on PyPI) and torch-cpu.lock. Every file must have a hash that
is in there. `auto` keeps the build that is installed; on Linux without an NVIDIA driver it takes the CPU build if an
index or folder in pip's settings offers it, or PyTorch's own index, whose address uv knows. uv does not read pip's
settings, so they are translated for it.
"""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES, TORCH, TORCH_CPU, UV = (HERE / f"{name}.lock" for name in ("packages", "torch", "torch-cpu", "uv"))
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
AS_LOCKED = ("--no-deps", "--require-hashes", "-r")

IN_UV = {
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "index-url": "UV_DEFAULT_INDEX",
    "keyring-provider": "UV_KEYRING_PROVIDER",
    "no-cache-dir": "UV_NO_CACHE",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "trusted-host": "UV_INSECURE_HOST",
}
"""pip's settings, and the variables that tell uv the same."""
WITHOUT_EFFECT = {
    *(
        "break-system-packages",
        "cache-dir",
        "config-file",
        "constraint",
        "disable-pip-version-check",
        "exists-action",
        "log",
    ),
    *("no-color", "no-input", "no-python-version-warning", "no-warn-script-location", "prefer-binary", "progress-bar"),
    *("quiet", "require-virtualenv", "resume-retries", "retries", "root-user-action", "use-feature", "verbose"),
}
"""pip's settings that do not change which files come from a lock, which pins them all, into a virtual environment."""

Install = Callable[..., bool]
"""`pip install` with these arguments, by uv or by pip; whether it succeeded. quiet=True: its words are not shown."""


def main(asked: str = "auto") -> None:
    """Install everything and say in one line which build of torch it is."""
    if asked not in ("auto", "cpu", "cuda"):
        sys.exit(f"TORCH={asked} is not known; choose auto, cpu or cuda")
    wanted = wanted_build(asked, installed_torch())
    settings = read_settings(subprocess.run([*PIP, "config", "list"], capture_output=True, text=True).stdout)
    with_uv = fetch_uv(settings)
    if not (with_uv and install_all(with_uv, torch_locks(wanted, asked, knows_pytorch=True))):
        if with_uv:
            print("uv could not install it (above); pip tries the same files", file=sys.stderr)
        if not install_all(with_pip, torch_locks(wanted, asked, knows_pytorch=False)):
            sys.exit("The installation failed, the lines above say why; docs/install.md says what can be set.")
    print(words(installed_torch(), wanted))


# --- which build of torch ---


def installed_torch() -> str:
    """Its version, with +cpu if it is the CPU build; empty if there is none."""
    importlib.invalidate_caches()
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""


def has_nvidia_driver() -> bool:
    """Whether this machine, or the one that runs this container, can use CUDA."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def wanted_build(asked: str, installed: str) -> str:
    """The build to install, cpu or cuda; other systems than Linux have one build, that of torch.lock."""
    if sys.platform != "linux":
        return "cuda"
    there = installed and ("cpu" if installed.endswith("+cpu") else "cuda")
    if asked == "auto":
        return there or ("cuda" if has_nvidia_driver() else "cpu")
    if there and there != asked:
        sys.exit(f"TORCH={asked}: torch {installed} is installed; to exchange it: make clean setup TORCH={asked}")
    return asked


def torch_locks(wanted: str, asked: str, knows_pytorch: bool) -> list[tuple[str, ...]]:
    """Locks to try in order, with options. The CPU build is insisted on only if a person asked for it."""
    cpu = [(str(TORCH_CPU),), (str(TORCH_CPU), "--torch-backend", "cpu")][: 1 + knows_pytorch]
    plain = [(str(TORCH),)]
    return plain if wanted == "cuda" else cpu if asked == "cpu" else cpu + plain


def words(installed: str, wanted: str) -> str:
    """Which build is installed, and how to choose the other."""
    if sys.platform != "linux":
        return f"torch {installed}"
    build, other = ("CPU", "cuda") if installed.endswith("+cpu") else ("CUDA", "cpu")
    why = ""
    if (wanted, other) == ("cpu", "cpu"):
        why = "; no index offered the locked CPU build for this Python"
    return f"torch {installed}, the {build} build{why}. To choose the other: make clean setup TORCH={other}"


# --- the two installers ---


def install_all(install: Install, locks: list[tuple[str, ...]]) -> bool:
    """Torch from the first lock whose files can be had, the other packages, and this one as editable."""
    found = (lock for lock in locks[:-1] if install("--dry-run", *AS_LOCKED, *lock, quiet=True))
    return (
        install(*AS_LOCKED, *next(found, locks[-1]))
        and install(*AS_LOCKED, str(PACKAGES))
        and install("--no-deps", "--no-build-isolation", "-e", str(HERE.parent))
    )


def with_pip(*arguments: str, quiet: bool = False) -> bool:
    """Install with pip, which reads its settings."""
    return _succeeds((*PIP, "install", *arguments), {}, quiet)


def fetch_uv(settings: Mapping[str, str]) -> Install | None:
    """Bring uv into this environment, with pip's settings; None, and one line, where pip must do the work."""
    if unknown := sorted(settings.keys() - IN_UV.keys() - WITHOUT_EFFECT - {"no-index"}):
        print(f"pip's settings {', '.join(unknown)} cannot be told to uv; pip installs", file=sys.stderr)
        return None
    if not with_pip("--quiet", "--only-binary", ":all:", *AS_LOCKED, str(UV), quiet=True):
        print("uv cannot be installed here; pip installs, which takes several minutes", file=sys.stderr)
        return None
    uv = (str(Path(sys.executable).with_name("uv")), "pip", "install", "--python", sys.executable)
    uv += ("--no-index",) * _is_on(settings.get("no-index", ""))  # has no variable
    environment = uv_environment(settings)
    impatient = {"UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "0"}  # a question; without an answer, the next is asked

    def install(*arguments: str, quiet: bool = False) -> bool:
        return _succeeds((*uv, *arguments), {**environment, **(impatient if quiet else {})}, quiet)

    return install


def read_settings(listed: str) -> dict[str, str]:
    """What `pip config list` lists, as `pip install` applies it: variables before its own section before global."""
    found = {}
    for section in ("global", "install", ":env:"):
        for where, name, value in re.findall(r"^(.+?)\.([\w-]+)=(.*)$", listed, re.MULTILINE):
            if where == section:
                found[name] = str(ast.literal_eval(value))
    return found


def uv_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Translate pip's settings into variables for uv; those that the user has set for uv come first.

    Like pip, uv then takes a version from whichever index has it. That is safe, as the files have locked hashes.
    """
    told = {IN_UV[name]: _in_uv(name, value) for name, value in settings.items() if name in IN_UV}
    told |= {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_BUILD_CONSTRAINT": str(PACKAGES)}
    if int(settings.get("quiet", "0")):
        told["UV_QUIET"] = "1"
    return told | {name: value for name, value in os.environ.items() if name.startswith("UV_")}


def _in_uv(name: str, value: str) -> str:
    if name == "no-cache-dir":
        return str(_is_on(value)).lower()
    return ("," if name == "find-links" else " ").join(value.split())


def _is_on(value: str) -> bool:
    return value.lower() in ("1", "on", "t", "true", "y", "yes")


def _succeeds(command: tuple[str, ...], environment: Mapping[str, str], quiet: bool) -> bool:
    shown = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, env={**os.environ, **environment}, stdout=shown, stderr=shown).returncode == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
