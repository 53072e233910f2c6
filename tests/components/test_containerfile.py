"""The recipe of the image, as far as it can be read without building it."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = re.sub(r"\\\n\s*", "", (ROOT / "components/Containerfile").read_text())
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]


def of(instruction: str) -> list[str]:
    """The arguments of every line with this instruction, in order."""
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{instruction} ")]


def stages() -> dict[str, str]:
    """Name of each stage, and what it begins from."""
    return {name: base for base, name in (line.split(" AS ") for line in of("FROM"))}


def test_there_are_two_targets_over_one_image_and_cpu_is_the_default():
    assert list(stages()) == ["dependencies", "package", "runtime", "gpu", "cpu"]
    assert stages()["gpu"] == stages()["cpu"] == "runtime"
    assert stages()["runtime"] == stages()["dependencies"] == "${BASE_IMAGE}"


def test_the_base_image_has_a_version():
    (base,) = [line.partition("=")[2] for line in of("ARG") if line.startswith("BASE_IMAGE=")]
    assert base.rpartition(":")[2] not in ("", "latest")
    assert ":" in base


def test_the_user_is_a_number_and_not_root():
    (user,) = of("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_everything_that_pip_installs_is_pinned_by_the_constraints():
    constraint = "/src/constraints.txt"
    assert any(f"PIP_CONSTRAINT={constraint} PIP_BUILD_CONSTRAINT={constraint}" in line for line in of("ENV"))
    assert of("COPY")[0].startswith("constraints.txt ")


def test_the_image_has_every_extra_that_the_steps_and_the_server_need():
    (extras,) = re.findall(r'\*\.whl\)\[([\w,]+)\]"', TEXT)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = set(project["optional-dependencies"])
    assert set(extras.split(",")) == known - {"all", "dev", "dvc"}


def test_what_is_taken_out_of_the_build_is_packages_and_the_package():
    assert [line for line in of("COPY") if line.startswith("--from")] == [
        "--from=dependencies /opt/venv /opt/venv",
        "--from=package /opt/i2i-unlearn /opt/i2i-unlearn",
    ]


def test_nothing_is_asked_for_that_the_legacy_builder_does_not_know():
    assert not [line for line in LINES if re.search(r"--(mount|link|chmod|security|network)\b|<<", line)]


def test_what_a_build_copies_is_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    copied = [word for line in of("COPY") if not line.startswith("--from") for word in line.split()[:-1]]
    seen = [line.removeprefix("!/") for line in ignored if line.startswith("!/")]
    assert {word.split("/")[0] for word in copied} == set(seen)


def test_no_address_of_packages_is_written_down():
    assert not re.findall(r"https?://", TEXT)
    assert "TORCH_INDEX=" in of("ARG")
