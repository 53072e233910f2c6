"""Python and packages against what the installed package requires, and against constraints.txt in a checkout."""

import importlib.metadata
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from i2i_unlearn.cli.doctor_checks.base import Line, State

NAME = "i2i-unlearn"
EXTRAS = {
    "mlflow": "registering, promoting",
    "kfp": "the pipeline",
    "dvc": "dvc repro",
    "embedded": "the demo's data, the feature extractor",
    "evidence": "signed evidence",
    "server": "object stores and PostgreSQL",
}
"""Optional parts, and what each is for."""
Installed = Callable[[str], str | None]
"""The version that is installed of a package, or None."""
CHECKOUT = Path(__file__).parents[4]


def packages() -> Iterator[Line]:
    """Python, required and optional packages; in a checkout also its exact versions."""
    try:
        metadata = importlib.metadata.metadata(NAME)
    except importlib.metadata.PackageNotFoundError:
        yield Line("package", "fail", f"{NAME} is not installed", "install it: pip install -e '.[all]' in its checkout")
        return
    yield python(platform.python_version(), metadata["Requires-Python"] or "")
    yield from required(metadata.get_all("Requires-Dist") or [], installed)
    constraints = CHECKOUT / "constraints.txt"
    if constraints.is_file() and (CHECKOUT / "pyproject.toml").is_file():  # the wheel does not bring it along
        yield pinned(constraints.read_text(), installed)


def installed(name: str) -> str | None:
    """The version of a package in this Python."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def python(version: str, asked: str) -> Line:
    """`asked`: as in the package's metadata, for example >=3.11."""
    if SpecifierSet(asked).contains(version, prereleases=True):
        return Line("python", "ok", f"{version} ({asked} is required)")
    return Line("python", "fail", f"{version}, but {asked} is required", f"install the package into a Python {asked}")


def required(requirements: Sequence[str], installed: Installed) -> Iterator[Line]:
    """One line for required packages, and one for each optional part."""
    parsed = [Requirement(text) for text in requirements]
    always = [one for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})]
    yield _fits("packages", always, installed, "fail", "")
    for extra, purpose in EXTRAS.items():
        part = [one for one in parsed if one.marker and not one.marker.evaluate({"extra": ""})]
        part = [one for one in part if one.marker and one.marker.evaluate({"extra": extra})]
        if part:
            yield _fits(f"packages for {extra}", part, installed, "warn", purpose)


def pinned(constraints: str, installed: Installed) -> Line:
    """Against the versions that the tests ran with; others may work, and give other bits."""
    others = {
        name: (found, pin)
        for name, pin in _pins(constraints).items()
        if (found := installed(name)) is not None and _public(found) != _public(pin)
    }
    if not others:
        return Line("constraints.txt", "ok", "all installed packages have exactly these versions")
    listed = [f"{name} {found} (not {pin})" for name, (found, pin) in others.items()]
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    advice = "pip install -c constraints.txt -e '.[dev]' gives the versions that the tests ran with"
    return Line("constraints.txt", "warn", ", ".join(listed[:5]) + more, advice)


def _fits(name: str, requirements: Sequence[Requirement], installed: Installed, fault: State, purpose: str) -> Line:
    wrong = []
    for one in requirements:
        version = installed(one.name)
        if version is None:
            wrong.append(f"{one.name} is missing")
        elif not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{one.name} {version} ({one.specifier} is required)")
    if not wrong:
        return Line(name, "ok", f"all {len(requirements)} installed, in versions that fit")
    extra = name.removeprefix("packages for ")
    what = f"'{NAME}[{extra}]'" if purpose else NAME
    advice = f"pip install {what}" + (f", if you need it: {purpose}" if purpose else "")
    return Line(name, fault, "; ".join(wrong), advice)


def _pins(constraints: str) -> Mapping[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", constraints, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def _public(version: str) -> str:
    """Without the local part: torch 2.13.0+cpu is torch 2.13.0."""
    return version.partition("+")[0]
