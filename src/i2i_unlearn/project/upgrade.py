"""Moves a project to the installed version. What is decided in it (settings, policies, records) stays as it is."""

import filecmp
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from packaging.version import InvalidVersion, Version

from i2i_unlearn import __version__
from i2i_unlearn.config.presets import WHOLE, change_settings
from i2i_unlearn.config.sections import PromoteConfig, load_params
from i2i_unlearn.evaluation.findings import read_findings
from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.pipeline.local.runner import PIPELINES, compile_pipeline
from i2i_unlearn.project.dvc_file import dvc_file
from i2i_unlearn.project.version import VERSION_FILE, recorded_version, version_line
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file
from i2i_unlearn.support.package_data import package_data

_FILES = {"policies": "mlflow/policies", "presets": "presets", "model_card.md.j2": "mlflow/model_card.md.j2"}
"""Package data -> place in a project."""


def upgrade(project: Path) -> list[str]:
    """Bring a project's files to the installed version; return lines on what was done and what was not.

    New settings come with the package's defaults, new policies and presets are added; what is there is not changed.
    dvc.yaml and the compiled pipelines are written again. The version is recorded last: a killed run is continued.

    Raises:
        UserError: the folder is no project, is of a newer version, or holds settings, policies or a promotion ledger
            that this version cannot take over. Then nothing is changed.
    """
    before = recorded_version(project)
    _check_is_older(project, before)
    if before == __version__:
        return [f"This project is of i2i-unlearn {before} already."]
    params = load_params(project / "params.yaml")
    read_policies(project / "mlflow/policies")
    original = _original(project)
    records, _ = ledger.verify(project / PromoteConfig.from_params(params).ledger)
    new = _lacking(params, yaml.safe_load(package_data("params.yaml").read_text(encoding="utf-8")))
    changes = change_settings(new, project / "params.yaml", what=f"the settings of i2i-unlearn {__version__}")
    told = [f"new setting {change.key}: {change.after}" for change in changes]
    told += _brought(project)
    _write(project / "dvc.yaml", dvc_file(sources=False, original=original))
    for pipeline in PIPELINES:
        compile_pipeline(project / f"pipelines/{pipeline}.yaml", project, pipeline)
    _write(project / VERSION_FILE, version_line())
    return [
        *told,
        f"promotion ledger: {records} records, all readable",
        *_on_metrics(project / "artifacts/evaluation/metrics.json"),
        f"From i2i-unlearn {before} to {__version__}. The next `forget` or `dvc repro` runs all stages again; what is "
        "promoted stays. `git diff` shows the changes.",
    ]


def _check_is_older(project: Path, before: str) -> None:
    if not before:
        raise UserError(
            f"{project}: no {VERSION_FILE} here; run this in a project that `i2i-unlearn init` made (a checkout of the "
            "repository is upgraded by git)"
        )
    try:
        newer = Version(before) > Version(__version__)
    except InvalidVersion:
        raise UserError(f"{project / VERSION_FILE}: {before!r} is no version; restore it with git") from None
    if newer:
        raise UserError(f"this project is of i2i-unlearn {before}, newer than the installed {__version__}; install it")


def _lacking(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What `own` lacks of `wanted`, in its nested sections, too. A mapping that is one value is not looked into."""
    found: dict[str, Any] = {}
    for key, value in wanted.items():
        if key not in own:
            found[key] = value
        elif isinstance(value, Mapping) and value and isinstance(own[key], Mapping) and key not in WHOLE:
            found |= {key: inner} if (inner := _lacking(own[key], value)) else {}
    return found


def _brought(project: Path) -> Iterator[str]:
    """Copy files that the project lacks; tell of those that differ from this version's."""
    for name, place in _FILES.items():
        source = package_data(name)
        for file in sorted(source.iterdir()) if source.is_dir() else [source]:
            own = project / place / file.name if source.is_dir() else project / place
            if not own.exists():
                own.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, own)
                yield f"new file {own.relative_to(project)}"
            elif not filecmp.cmp(file, own, shallow=False):
                yield f"{own.relative_to(project)} differs from this version's and stays; compare it with {file}"


def _original(project: Path) -> str:
    """The model before any request, as dvc.yaml names it.

    Raises:
        UserError: it does not.
    """
    path = project / "dvc.yaml"
    try:
        (found,) = (one["original"] for one in yaml.safe_load(path.read_text(encoding="utf-8"))["vars"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: names no `original` under `vars`; restore it with git") from None
    return str(found)


def _on_metrics(path: Path) -> Iterator[str]:
    """Whether the last evaluation can still be read."""
    if path.is_file():
        try:
            read_findings(path)
            yield f"{path.name} of the last evaluation: readable"
        except UserError as error:
            yield f"not carried over: {error}"


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as aside:
        aside.write_text(text, encoding="utf-8")
