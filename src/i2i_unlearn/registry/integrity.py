"""Does MLflow hold what was registered and judged? Compares bytes, tags and evaluation with each other."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from i2i_unlearn.evaluation.evaluated_model import FINDINGS, digest_evaluation
from i2i_unlearn.registry import tracking
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError

EVALUATION = "evaluation"
"""Folder of a run's artifacts that holds the evaluation."""


def differences(server: tracking.Server, version: tracking.Version) -> list[str]:
    """Everything that differs, in phrases that begin with "its"; empty if nothing does."""
    found: list[str] = []
    with TemporaryDirectory() as folder:
        for look in (_of_files, _of_evaluation):
            try:
                found.extend(look(server, version, Path(folder)))
            except UserError as error:
                found.append(f"its {error}")
    return found


def verdict(server: tracking.Server, version: tracking.Version) -> Mapping[str, Any]:
    """What the deciding policy said, from the evaluation in MLflow; empty for a version that was never evaluated."""
    if "evaluation_run_id" not in version.tags:
        return {}
    with TemporaryDirectory() as folder:
        evaluation = _download_evaluation(server, version, Path(folder))
        found = files.read_json(evaluation / FINDINGS[1])
        return dict(found["verdicts"][found["deciding"]])


def _of_files(server: tracking.Server, version: tracking.Version, folder: Path) -> Iterator[str]:
    (folder / "version").mkdir()
    saved = server.download(version, folder / "version")
    weights = files.digest_folder(saved / tracking.MODEL_PATH)
    yield from _differ("weights", weights, version.tags.get("model_sha256"))
    yield from _differ("files", files.digest_folder(saved), version.logged.saved_sha256)


def _of_evaluation(server: tracking.Server, version: tracking.Version, folder: Path) -> Iterator[str]:
    tags = version.tags
    if "evaluation_run_id" not in tags:
        return  # an original
    evaluation = _download_evaluation(server, version, folder)
    yield from _differ("evaluation", digest_evaluation(evaluation), tags.get("evaluation_sha256"))
    try:
        metrics, verdicts = (json.loads((evaluation / name).read_bytes()) for name in FINDINGS)
        yield from _differ("weights", tags.get("model_sha256"), metrics["models"]["unlearned"])
        yield from _differ("teacher", tags.get("teacher_sha256"), metrics["models"]["teacher"])
        yield from _differ("split manifest", tags.get("manifest_sha256"), metrics["manifest_sha256"])
        yield from _differ("gate", tags.get("gate"), verdicts["verdicts"][verdicts["deciding"]]["outcome"])
    except (KeyError, TypeError, ValueError):
        yield "its evaluation in MLflow was not written by `i2i-unlearn evaluate`"


def _download_evaluation(server: tracking.Server, version: tracking.Version, folder: Path) -> Path:
    for name in FINDINGS:
        server.download_record(version.tags["evaluation_run_id"], f"{EVALUATION}/{name}", folder / EVALUATION)
    return folder / EVALUATION


def _differ(what: str, found: str | None, evaluated: str | None) -> Iterator[str]:
    if found != evaluated:
        yield f"its {what} in MLflow (found {short(found)}) differs from what was evaluated ({short(evaluated)})"


def short(value: str | None) -> str:
    """The start of a digest, for people."""
    return (value or "nothing")[:12]
