"""Set-up: the Makefile's rules, tried with stand-ins for Python, and the exact versions of constraints.txt."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]

PYTHON = """#!/bin/sh
# Stands for python3 and for .venv/bin/python; each call is written down.
echo "$*" >> calls
case "$*" in
    *version_info*) exit ${TOO_OLD:-0} ;;
    *ensurepip*) exit ${NO_VENV:-0} ;;
    "--version") echo "Python 3.9.2" ;;
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    requirements/install.py*) exit ${INSTALL_FAILS:-0} ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    """What set-up reads, and a stand-in for Python."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make(clone, *arguments, **environment):
    # MAKEFLAGS and MAKELEVEL of the `make test` that runs this are not for the make under test.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "PYTHON=./python", *arguments]
    return subprocess.run(command, cwd=clone, env={**clean, **environment}, capture_output=True, text=True, check=False)


def calls(clone):
    path = clone / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_set_up_installs_once_and_then_asks_neither_python_nor_pip(clone):
    assert make(clone, "setup").returncode == 0
    assert (clone / ".venv/.installed").exists()
    before = calls(clone)
    assert sum(call.startswith("requirements/install.py") for call in before) == 1
    assert make(clone, "setup").returncode == 0
    assert calls(clone) == before


def test_with_options_for_pip_it_is_pip_that_installs(clone):
    make(clone, "setup", "PIP_ARGS=--no-index --find-links wheels")
    install = next(call for call in calls(clone) if call.startswith("-m pip install"))
    assert install.endswith("-c constraints.txt -e .[dev] --no-index --find-links wheels")


def test_a_build_of_torch_that_is_named_is_compared_with_the_installed_one_each_time(clone):
    make(clone, "setup")
    make(clone, "setup", "TORCH=cuda")
    assert [call for call in calls(clone) if "install.py" in call] == [
        "requirements/install.py auto",
        "requirements/install.py cuda",
    ]


def test_a_failed_installation_leaves_no_stamp_and_is_tried_again(clone):
    assert make(clone, "setup").returncode == 0
    os.utime(clone / "constraints.txt", (2**32, 2**32))  # newer than the stamp, as after a pull
    assert make(clone, "setup", INSTALL_FAILS="1").returncode != 0
    assert not (clone / ".venv/.installed").exists()
    assert make(clone, "setup").returncode == 0
    assert (clone / ".venv/.installed").exists()


def test_a_half_made_environment_is_made_again(clone):
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").write_text("#!/bin/sh\nexit 1\n")  # no pip in it
    (clone / ".venv/bin/python").chmod(0o755)
    assert make(clone, "setup").returncode == 0
    assert "-m venv --clear .venv" in calls(clone)


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        (["demo", "PYTHON=no-such-python"], {}, "no-such-python cannot be run"),
        (["demo"], {"TOO_OLD": "1"}, "Python 3.9.2 is too old, 3.11 or newer is needed"),
        (["test"], {"NO_VENV": "1"}, "has no venv module; install it"),
        (["ui"], {}, "mlflow.db is not there yet; run `make demo` first"),
    ],
    ids=["no Python", "an old Python", "no venv", "no database"],
)
def test_what_is_missing_gives_one_line(clone, words, environment, told):
    done = make(clone, *words, **environment)
    (line,) = (done.stdout + done.stderr).splitlines()
    assert done.returncode != 0
    assert told in line
    assert not (clone / ".venv").exists()


def test_make_alone_lists_every_target(clone):
    listed = make(clone).stdout
    phony = next(line for line in (clone / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    for target in phony.split()[1:]:
        assert f"make {target} " in listed
    assert calls(clone) == []


def pins():
    """Every line of constraints.txt."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


def pinned():
    """Name -> version."""
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in pins()}


def test_constraints_are_exact_pins_each_once_and_of_no_one_platform():
    for pin in pins():
        assert re.fullmatch(r"==[^*,+]+", str(pin.specifier)), pin
    assert len(pinned()) == len(pins())


def test_constraints_satisfy_the_ranges_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for wanted in (Requirement(line) for group in groups for line in group):
        if wanted.name != project["name"]:
            version = pinned()[canonicalize_name(wanted.name)]
            assert wanted.specifier.contains(Version(version), prereleases=True), (wanted, version)


def locked(*names):
    """Requirement -> hashes, of these files of the lock."""
    found = {}
    for name in names:
        text = re.sub(r"(?m)^#.*\n", "", (ROOT / f"requirements/{name}.lock").read_text()).replace("\\\n", "")
        for line in text.splitlines():
            requirement, *hashes = line.split(" --hash=")
            found[Requirement(requirement.strip())] = [one.strip() for one in hashes]
    return found


def test_the_lock_has_the_pins_of_the_constraints_and_hashes_of_every_file():
    lock, pins = locked("packages", "torch"), pinned()
    versions = {canonicalize_name(one.name): str(one.specifier).lstrip("=") for one in lock}
    assert {name: versions.get(name) for name in pins} == pins
    # Not in the constraints: what other systems and Pythons than that of the tests need, and the libraries of CUDA.
    foreign = [one for one in lock if canonicalize_name(one.name) not in pins]
    assert [one.name for one in foreign if one.marker is None] == []
    for requirement, hashes in {**lock, **locked("torch-cpu", "uv")}.items():
        assert hashes, requirement
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in hashes), requirement


def test_the_cpu_build_of_the_lock_is_the_pinned_torch_and_has_other_hashes():
    ((cpu, cpu_hashes),) = locked("torch-cpu").items()
    cuda_hashes = next(
        hashes for one, hashes in locked("torch").items() if one == Requirement(f"torch==={pinned()['torch']}")
    )
    assert str(cpu) == f"torch=={pinned()['torch']}+cpu"
    assert not set(cpu_hashes) & set(cuda_hashes)
    assert str(next(iter(locked("uv")))) == f"uv=={pinned()['uv']}"


def needed(name="i2i-unlearn", extras=("dev",), found=None):
    """Name -> installed version of all that the package needs with these extras, on this system."""
    found = {} if found is None else found
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in (*extras, "")
        )
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if wanted and key not in found:
            found[key] = metadata.version(requirement.name)
            needed(requirement.name, tuple(requirement.extras), found)
    return found


def test_every_package_that_is_installed_is_pinned_to_that_version():
    installed = {name: Version(version).public for (name, _), version in needed().items() if name != "i2i-unlearn"}
    differing = {name: version for name, version in installed.items() if pinned().get(name) != version}
    # CUDA's libraries come with the CUDA build of torch, which pins them itself.
    foreign = {name for name in differing if name.startswith(("nvidia-", "cuda-")) or name == "triton"}
    assert {name: version for name, version in differing.items() if name not in foreign} == {}
