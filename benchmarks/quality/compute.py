"""Computes one cell by the product's own stages. Runs in a worker; everything it needs is in its arguments."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality.scoring import score
from i2i_unlearn.config.sections import PretrainConfig, ReferenceConfig, SplitConfig, TrainingConfig, UnlearnConfig
from i2i_unlearn.models import family_named
from i2i_unlearn.stages import pretrain, reference, split, unlearn


@dataclass(frozen=True)
class Job:
    """A cell, for a worker."""

    kind: str
    content: Mapping[str, Any]
    inputs: Mapping[str, str]
    """Folders of the inputs, by name."""
    out: str
    images: str
    requests: str
    hmac_key: str
    cache: str
    family: str


ALONE = {"count": 1, "models": [], "num_workers": 1}
"""Each reference is a cell of its own."""


def compute(job: Job) -> dict[str, Any]:
    """Write the cell's files; return what to note: the stage's summary and the seconds of the processor."""
    if job.family:
        family_named(job.family)
    begun, begun_cpu = time.monotonic(), time.process_time()
    facts = dict(KINDS[job.kind](job))
    resumed = bool(facts.get("resumed_from_step"))
    return {
        **facts,
        "wall_s": round(time.monotonic() - begun, 3),
        # A resumed run knows the seconds of its last part only.
        "cpu_s": None if resumed else round(time.process_time() - begun_cpu, 3),
    }


def _split(job: Job) -> dict[str, Any]:
    config = SplitConfig(**job.content["config"])
    return split.run(job.images, job.requests, job.out, config, hmac_key_file=job.hmac_key)


def _teacher(job: Job) -> dict[str, Any]:
    return pretrain.run(job.images, job.out, _config(PretrainConfig, job))


def _reference(job: Job) -> dict[str, Any]:
    teacher = Path(job.inputs["teacher"]) / "model"
    return reference.retrain_one(
        job.images, job.inputs["splits"], teacher, job.out, _config(ReferenceConfig, job, **ALONE)
    )


def _unlearn(job: Job) -> dict[str, Any]:
    teacher = Path(job.inputs["teacher"]) / "model"
    return unlearn.run(job.images, job.inputs["splits"], teacher, job.out, _config(UnlearnConfig, job))


def _score(job: Job) -> dict[str, Any]:
    return score(
        job.images,
        Path(job.inputs["splits"]),
        Path(job.inputs["model"]) / "model",
        Path(job.out),
        job.content,
        Path(job.cache),
    )


def _config(kind: Any, job: Job, **more: Any) -> TrainingConfig:
    """Checkpoints five times in a run: they cost less than what a killed run loses."""
    content = job.content["config"]
    every = max(content["num_steps"] // 5, 50)
    where = {"checkpoint_uri": f"{job.cache}/checkpoints", "checkpoint_every_steps": every}
    made: TrainingConfig = kind(**content, **where, **more)
    return made


KINDS = {"split": _split, "teacher": _teacher, "reference": _reference, "unlearn": _unlearn, "score": _score}
