"""Stage `sweep_point`: one point of a sweep, unlearned and evaluated. A finished point is not computed again.

    <folder>/<objective>-<dial>-<value>-<key>/
        unlearned/     as the stage `unlearn` writes it
        evaluation/    as the stage `evaluate` writes it
        point.json     schema version 1; written last: what the point is, and what it was made from

The key covers all that decides the weights (settings, inputs, code), so a folder with it is the point, no matter who
computed it and when. point.json also records what decides the evaluation: if that changed, the point is evaluated again
but not trained again. Training that diverged is a result, recorded in point.json.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from i2i_unlearn.config.sections import EvaluateConfig, UnlearnConfig
from i2i_unlearn.stages import evaluate, unlearn
from i2i_unlearn.support.errors import Diverged
from i2i_unlearn.support.files import digest_file, digest_files, digest_folder, read_json, write_json
from i2i_unlearn.sweeps.points import POINT, POINT_VERSION, point_of
from i2i_unlearn.training.run import run_digest

LIGHT = (
    POINT,
    *(f"evaluation/{name}" for name in ("metrics.json", "verdicts.json", "summary.json", "report.html")),
)
"""What a sweep's table and its record need of a point: everything except the weights."""

Facts = dict[str, float | str]


def run(
    images: str,
    splits: str | Path,
    teacher: str | Path,
    reference: str | Path,
    folder: str | Path,
    configs: tuple[UnlearnConfig, EvaluateConfig],
) -> Facts:
    """Unlearn and evaluate one point below `folder`, unless that was done before; return what it is.

    The inputs are those of the stages `unlearn` and `evaluate`; `reference` is empty where there is none. Other points
    in `folder` are left alone. `configs` are the two stages' sections at this point (`points.point_configs`).

    Returns:
        point, folder, outcome (pass | fail | undecided | diverged), computed (new | already).

    Raises:
        UserError: as `unlearn` and `evaluate`, except for training that diverges.
    """
    unlearn_config, evaluate_config = configs
    made_from = _inputs(Path(splits), Path(teacher), str(reference))
    key = run_digest("unlearn", unlearn_config, **{name: made_from[name] for name in ("manifest", "teacher")})
    about = describe(unlearn_config)
    home = Path(folder) / f"{about['name'].replace(' ', '-')}-{key[:12]}"
    content: dict[str, Any] = {
        **about,
        "made_from": {**made_from, "unlearn": key, "evaluate": _digest({"key": key, **made_from}, evaluate_config)},
    }
    if (home / POINT).is_file() and read_json(home / POINT).get("made_from") == content["made_from"]:
        return _facts(home, "already")
    if not (home / "unlearned/summary.json").is_file():
        try:
            unlearn.run(images, splits, teacher, home / "unlearned", unlearn_config)
        except Diverged as end:
            content["diverged"] = str(end)
    if not content["diverged"]:
        evaluate.run(images, splits, teacher, home / "unlearned", reference, home / "evaluation", evaluate_config)
    home.mkdir(parents=True, exist_ok=True)
    write_json(home / POINT, content)
    return _facts(home, "new")


def describe(config: UnlearnConfig) -> dict[str, Any]:
    """What a point is: the content of point.json except what it was made from."""
    point = point_of(config.model_dump())
    return {
        "schema_version": POINT_VERSION,
        "name": str(point),
        "objective": point.objective,
        "dial": point.dial,
        "value": point.value,
        "settings": config.model_dump(mode="json", exclude=set(config.not_in_digest)),
        "diverged": "",
    }


def copy_light(home: str | Path, out: str | Path) -> None:
    """Copy what a table and a record need of a point, in the same layout; `out` may exist."""
    for name in LIGHT:
        if (Path(home) / name).is_file():  # a point that diverged has only its point.json
            (Path(out) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(home) / name, Path(out) / name)


def _inputs(splits: Path, teacher: Path, reference: str) -> dict[str, str]:
    """Digests of what every point of a sweep shares."""
    home = Path(reference)
    models = sorted(path for path in home.glob("*/model/**/*") if path.is_file()) if reference else []
    return {
        "manifest": digest_file(splits / "manifest.parquet"),
        "teacher": digest_folder(teacher),
        "reference": digest_files(models, home) if models else "",
    }


def _digest(made_from: Mapping[str, str], config: EvaluateConfig) -> str:
    content = json.dumps({**made_from, "config": config.digest()}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _facts(home: Path, computed: str) -> Facts:
    content = read_json(home / POINT)
    outcome = "diverged"
    if not content["diverged"]:
        verdicts = read_json(home / "evaluation/verdicts.json")
        outcome = verdicts["verdicts"][verdicts["deciding"]]["outcome"]
    return {"point": content["name"], "folder": str(home), "outcome": outcome, "computed": computed}
