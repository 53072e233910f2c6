"""Make the lock from pyproject.toml and constraints.txt: `make lock`.

packages.lock has everything but torch, torch.lock the build on PyPI with the libraries of CUDA, torch-cpu.lock the
build without, uv.lock the installer. Hashes are those of pip's main index; the CPU build may come from any place in
pip's settings, and its hashes of other systems and Pythons stay until the version changes.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from install import HERE, PACKAGES, PIP, TORCH, TORCH_CPU, UV, read_settings, uv_environment

HEAD = "# Made by `make lock` from pyproject.toml and constraints.txt; installed by requirements/install.py.\n"
CUDA = re.compile(r"torch==|triton==|nvidia-|cuda-")
"""Begins the blocks of torch and of what its build for CUDA needs."""


def main() -> None:
    """Write the four files."""
    blocks = re.split(r"(?m)^(?=\w)", resolve())[1:]
    of_torch = [block for block in blocks if CUDA.match(block)]
    _write(PACKAGES, [block for block in blocks if block not in of_torch])
    # === because a +cpu build, where there is one, satisfies == and is preferred.
    _write(TORCH, [block.replace("torch==", "torch===", 1) for block in of_torch])
    _write(UV, [block for block in blocks if block.startswith("uv==")])
    (version,) = (block.split()[0] for block in of_torch if block.startswith("torch=="))
    _write(TORCH_CPU, [cpu_block(f"{version}+cpu")])


def resolve() -> str:
    """All packages of the extra `dev`, for every supported system and Python, with the hashes of their files."""
    settings = read_settings(_run(*PIP, "config", "list"))
    main_index = {name: value for name, value in settings.items() if name not in ("extra-index-url", "find-links")}
    command = "uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --extra dev"
    options = ("--python-version", "3.11", "-c", "constraints.txt", "pyproject.toml")
    environment = uv_environment(main_index)
    del environment["UV_BUILD_CONSTRAINT"]
    return _run(*command.split(), *options, **environment)


def cpu_block(requirement: str) -> str:
    """The CPU build for this system, and what the lock has for others."""
    before = TORCH_CPU.read_text() if TORCH_CPU.exists() else ""
    hashes = set(re.findall(r"--hash=(\S+)", before)) if f"{requirement} " in before else set()
    with tempfile.TemporaryDirectory() as folder:
        _run(*PIP, "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder, requirement)
        hashes |= {f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in Path(folder).iterdir()}
    return " \\\n".join([requirement, *(f"    --hash={one}" for one in sorted(hashes))]) + "\n"


def _write(path: Path, blocks: list[str]) -> None:
    path.write_text(HEAD + "".join(blocks))
    print(f"{path.relative_to(HERE.parent)}: {len(blocks)} packages")


def _run(*command: str, **environment: str) -> str:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    variables = {**os.environ, **environment, "PATH": path}
    done = subprocess.run(command, cwd=HERE.parent, env=variables, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
