"""DVC's experiments as points of a sweep: what `dvc exp run` made, read from its commits and its cache."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from i2i_unlearn.config.sections import UnlearnConfig
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import write_json
from i2i_unlearn.sweeps.point import POINT, describe

PARAMS = "params.yaml"
FINDINGS = ("metrics.json", "verdicts.json")
EVALUATION = "artifacts/evaluation"


def fetch_experiments(root: Path, folder: Path) -> list[Path]:
    """Write a folder of a point for each experiment of the current commit, and for the commit itself, into `folder`.

    What was not evaluated, or lies in another clone's cache, is left out; of equal settings the first counts.

    Raises:
        UserError: DVC is not installed, `root` is no DVC project, or no experiment was evaluated.
    """
    found: dict[str, Path] = {}
    for name, revision in _revisions(root):
        content = _read(root, revision)
        if content is None:
            continue
        params, findings = content
        try:
            about = describe(UnlearnConfig.from_params(params))
        except UserError as error:
            raise UserError(f"experiment {name}: {error}; remove it with `dvc exp remove {name}`") from None
        key = json.dumps(about["settings"], sort_keys=True)
        if key not in found:
            found[key] = folder / name
            write_json(folder / name / POINT, about)
            for file, finding in findings.items():
                write_json(folder / name / "evaluation" / file, finding)
    if not found:
        raise UserError(
            "no experiment of this commit was evaluated; run for example "
            "`dvc exp run --queue -S unlearn.alpha=0.1,0.25,1` and `dvc queue start`"
        )
    return list(found.values())


def _revisions(root: Path) -> Iterator[tuple[str, str]]:
    """Name and commit: the current commit first, then its experiments by name."""
    try:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
    except ModuleNotFoundError:
        raise UserError("DVC is not installed; install it with `pip install 'i2i-unlearn[dvc]'`") from None
    try:
        with Repo(str(root)) as repo:
            listed = repo.experiments.ls()
    except DvcException as error:
        raise UserError(f"{root}: {error}; run this from a project under git and DVC") from None
    yield "commit", "HEAD"
    yield from sorted((name, sha or name) for experiments in listed.values() for name, sha in experiments)


def _read(root: Path, revision: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The content of params.yaml and of the findings at a revision; None where one of them is not there."""
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(repo=str(root), rev=revision)
    try:
        findings = {name: json.loads(files.read_text(f"{EVALUATION}/{name}")) for name in FINDINGS}
        return yaml.safe_load(files.read_text(PARAMS)), findings
    except FileNotFoundError:
        return None
