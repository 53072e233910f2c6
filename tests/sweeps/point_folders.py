"""Folders of points as the stage `sweep_point` writes them, with numbers made by hand."""

import hashlib
from pathlib import Path

from i2i_unlearn.evaluation.findings import FINDINGS_VERSION
from i2i_unlearn.support import files


def score(value, half=0.05):
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - half, "high": value + half, "num_images": 40}


SETTINGS = {"objective": "encoder_l2", "alpha": 0.25, "epsilon": 0.5, "num_steps": 30, "operator": "center_hole"}


def write_point(
    folder: Path,
    forgetting=-1.0,
    retain=-0.1,
    unseen=-0.2,
    *,
    outcome="pass",
    reference=-2.0,
    diverged="",
    teacher="a" * 64,
    **settings,
) -> Path:
    """A point at these changes of the hole PSNR in dB; `reference` is the reference's on the forget set."""
    settings = SETTINGS | settings
    dial = "epsilon" if settings["objective"] == "epsilon_constraint" else "alpha"
    name = f"{settings['objective']} {dial} {settings[dial]:g}"
    key = hashlib.sha256(f"{forgetting} {retain} {unseen} {settings}".encode()).hexdigest()
    files.write_json(
        folder / "point.json",
        {
            "schema_version": 1,
            "name": name,
            "objective": settings["objective"],
            "dial": dial,
            "value": settings[dial],
            "settings": settings,
            "diverged": diverged,
        },
    )
    if diverged:
        return folder
    changes = {"forget": forgetting, "retain": retain, "retain_holdout": unseen}
    differences = {"unlearned-teacher": psnr(changes)}
    models = {"teacher": teacher, "unlearned": key}
    closeness = {}
    if reference is not None:
        models["reference"] = "c" * 64
        differences["reference-teacher"] = psnr({"forget": reference, "retain": 0.3, "retain_holdout": 0.05})
        differences["unlearned-reference"] = psnr({"forget": forgetting - reference})
        closeness = {"forget": {"reference_psnr_db": score(11.0 + forgetting)}}
    metrics = {
        "schema_version": FINDINGS_VERSION,
        "operator": "center_hole",
        "keep_fraction": 0.75,
        "extractor": "efficientnet_lite0",
        "num_bootstrap": 1000,
        "seed": 0,
        "models": models,
        "manifest_sha256": "b" * 64,
        "sets": {name: {"num_images": 40, "num_scored": 40, "chosen": "all"} for name in changes},
        "scores": {"unlearned": closeness, "teacher": {"forget": {"reference_psnr_db": score(14.0)}}},
        "differences": differences,
        "cost": {"unlearn_s": 12.3},
    }
    files.write_json(folder / "evaluation/metrics.json", metrics)
    outcomes = {"forgotten": outcome, "as_unseen": "fail"}
    judged = {name: {"policy": name, "outcome": found, "lines": []} for name, found in outcomes.items()}
    verdicts = {"schema_version": FINDINGS_VERSION, "deciding": "forgotten", "verdicts": judged, "sentence": ""}
    files.write_json(folder / "evaluation/verdicts.json", verdicts)
    return folder


def psnr(changes):
    return {name: {"hole_psnr_db": score(value)} for name, value in changes.items() if value is not None}
