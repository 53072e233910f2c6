"""Rehearsal: what the recipe does to a request that is too small to be judged. METHOD section 13.

In a scratch copy the request is unlearned together with stand-ins, and audit rank_shift judges all of them:

    stand-ins   training images to keep of a forget image's class whose error under the original is nearest to its own
    recipe      the settings of `unlearn`, from the same teacher

The copy is thrown away. It speaks for the recipe, not for the request: gate.py labels what it passes "by rehearsal".
Shape letters: N forget images, C candidates.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from i2i_unlearn.config.sections import EvaluateConfig
from i2i_unlearn.data.split.manifest import FORGET, RETAIN, SplitManifest, write_manifest
from i2i_unlearn.evaluation.audits.base import AuditInputs
from i2i_unlearn.evaluation.audits.rank_shift import AUDIT, FEWEST
from i2i_unlearn.evaluation.findings import NEVER_SEEN_SETS, ORIGINAL, TEACHER, UNLEARNED, original_in
from i2i_unlearn.evaluation.inputs import ChosenSet, Inputs, choose, read_labels
from i2i_unlearn.evaluation.metrics.hole_psnr import SMALLEST_ERROR
from i2i_unlearn.evaluation.metrics.observations import Array
from i2i_unlearn.evaluation.original_table import OriginalTable
from i2i_unlearn.evaluation.rank_entry import labels_of, observe_sets, rank_entry
from i2i_unlearn.models import load_model
from i2i_unlearn.support.progress import progress

NUM_STAND_INS = 39
Unlearn = Callable[[Path, Path], Any]
"""(folder of a split, output folder): the stage `unlearn` with everything else as it was."""


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What was unlearned in the scratch copy."""

    model: Any
    """None where stand-ins are too few to judge anything."""
    together: ChosenSet
    """The request's images and the stand-ins."""
    num_stand_ins: int


def is_due(inputs: Inputs, config: EvaluateConfig) -> bool:
    """Whether the settings ask for a rehearsal, and the request is too small to do without."""
    return config.rehearsal and AUDIT.name in config.audits.run and inputs.sets[FORGET].num_images < FEWEST


def rehearse(
    inputs: Inputs,
    images: str,
    config: EvaluateConfig,
    device: torch.device,
    unlearn: Unlearn,
    scratch: Path,
    table: OriginalTable | None,
) -> Rehearsal:
    """Unlearn in the folder `scratch`, which is removed; `table` is that of an original without weights."""
    together = _with_stand_ins(inputs, images, config, device, table)
    num_stand_ins = len(together.rows) - inputs.sets[FORGET].num_images
    if len(together.rows) < FEWEST:
        return Rehearsal(model=None, together=together, num_stand_ins=num_stand_ins)
    try:
        (scratch / "splits").mkdir(parents=True)
        write_manifest(_renamed(inputs.manifest, together.rows), scratch / "splits/manifest.parquet")
        unlearn(scratch / "splits", scratch / "unlearned")
        model = load_model(scratch / "unlearned/model", config.model)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    frozen = model.to(device).requires_grad_(False)
    return Rehearsal(model=frozen, together=together, num_stand_ins=num_stand_ins)


def judge_rehearsal(
    rehearsal: Rehearsal,
    attacked: AuditInputs,
    inputs: Inputs,
    images: str,
    config: EvaluateConfig,
    device: torch.device,
    table: OriginalTable | None,
) -> dict[str, Any]:
    """Entry `rehearsal` of metrics.json: the entry of audit rank_shift, of two models."""
    if rehearsal.model is None:
        return {"status": "n/a", "why": "the class has too few images to keep that could stand in", "models": {}}
    models = {TEACHER: inputs.models[original_in(inputs.models)], UNLEARNED: rehearsal.model}
    sets = {FORGET: rehearsal.together, **{name: inputs.sets[name] for name in NEVER_SEEN_SETS}}
    sets = {name: chosen for name, chosen in sets.items() if len(chosen.rows)}
    with progress("rehearsal", sum(len(chosen.rows) for chosen in sets.values())) as advance:
        observed = observe_sets(replace(inputs, models=models), images, sets, config, device, advance)
    if table:
        models[ORIGINAL] = None
        answers = {name: table.answers(chosen, inputs.operator.label) for name, chosen in sets.items()}
        observed = {name: {**of, ORIGINAL: answers[name]} for name, of in observed.items()}
    labels = {name: labels_of(chosen) for name, chosen in sets.items()}
    entry = rank_entry(replace(attacked, models=models), observed, labels)
    return {**entry, "facts": {**entry["facts"], "num_stand_ins": rehearsal.num_stand_ins}}


def _with_stand_ins(
    inputs: Inputs, images: str, config: EvaluateConfig, device: torch.device, table: OriginalTable | None
) -> ChosenSet:
    """All forget images and, of a random subset of their classes' images to keep, those that stand in for them."""
    labels = read_labels(images).fillna({"label": ""})
    forget, retain = (inputs.manifest.of(role).merge(labels, how="left") for role in (FORGET, RETAIN))
    of_class = retain[retain["label"].isin(forget["label"])]
    sets = {
        FORGET: choose(forget, FORGET, config, labels),
        "stand-ins": choose(of_class, "stand-ins", config, labels),
    }
    sets = {name: table.known(chosen) if table else chosen for name, chosen in sets.items()}
    sets = {name: chosen for name, chosen in sets.items() if len(chosen.rows)}
    original = original_in(inputs.models)
    alone = replace(inputs, models={original: inputs.models[original]})
    if table:
        found = {name: table.answers(chosen, inputs.operator.label) for name, chosen in sets.items()}
    else:
        with progress("stand-ins", sum(len(chosen.rows) for chosen in sets.values())) as advance:
            observed = observe_sets(alone, images, sets, config, device, advance)
        found = {name: of[original] for name, of in observed.items()}
    rows = sets[FORGET].rows
    if "stand-ins" in sets:
        errors = {name: np.log(np.maximum(facts.hole_error_N, SMALLEST_ERROR)) for name, facts in found.items()}
        most = min(NUM_STAND_INS, len(retain) // 2)  # something must be left to keep
        places = nearest(
            errors[FORGET], labels_of(sets[FORGET]), errors["stand-ins"], labels_of(sets["stand-ins"]), most
        )
        rows = pd.concat([rows, sets["stand-ins"].rows.iloc[places]], ignore_index=True)
    return ChosenSet(rows=rows, num_images=len(rows))


def nearest(
    error_N: Array, label_N: NDArray[np.str_], error_C: Array, label_C: NDArray[np.str_], most: int
) -> list[int]:
    """Places of the candidates that stand in: each forget image in turn takes the nearest of its class that is left."""
    order = [
        iter(np.flatnonzero(label_C == label)[np.argsort(np.abs(error_C[label_C == label] - error), kind="stable")])
        for error, label in zip(error_N, label_N, strict=True)
    ]
    taken: dict[int, None] = {}
    while order and len(taken) < most:
        for one in list(order):
            place = next((int(place) for place in one if int(place) not in taken), None)
            if place is None:
                order.remove(one)
            elif len(taken) < most:
                taken[place] = None
    return list(taken)


def _renamed(manifest: SplitManifest, together: pd.DataFrame) -> SplitManifest:
    """The split with `together` as its forget set."""
    keys = set(zip(together["shard"], together["row"], strict=True))
    rows = manifest.rows
    chosen = np.array([place in keys for place in zip(rows["shard"], rows["row"], strict=True)])
    return replace(manifest, rows=rows.assign(role=rows["role"].mask(chosen, FORGET)))
