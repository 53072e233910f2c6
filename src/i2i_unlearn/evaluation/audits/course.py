"""Trains a copy of a model and looks at it along the way: how soon does it complete some images as the original did?

    above(t)   PSNR in the hole of the images, model after t steps, less the level: that of the original before training
    <name>_db      mean of above(t) over the checks t > 0
    <name>_steps   first check at which above(t) is at least -margin: the delay; the limit where there is none

`_db` is the area between the model's curve and the level, per step: about 0 for a model that is back at once, the more
negative the slower. Unlike the steps it needs no limit and no margin, and moves smoothly when images are resampled. All
weights are trained, with the family's own training loss and the same batches, masks, learning rate and random numbers
for every model.

Shape letters: N images, P points in time (the checks), K draws.
"""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from i2i_unlearn.evaluation.audits.base import AuditInputs, ImageSet
from i2i_unlearn.evaluation.audits.training import fit
from i2i_unlearn.evaluation.metrics.bootstrap import Floats, Statistic
from i2i_unlearn.evaluation.metrics.hole_psnr import hole_error, psnr_db
from i2i_unlearn.method.objectives.own_loss import OwnLoss
from i2i_unlearn.models.randomness import derive_seed
from i2i_unlearn.support.progress import Advance
from i2i_unlearn.training.sampling import Sampler

BATCH = 32
LEARNING_RATE = 5e-4  # AdamW's; half of what the small models are unlearned with: the teacher keeps its level under it
NUM_CHECKS = 6
MARGIN_DB = 0.1  # differences below it mean nothing in a single run


def checks_of(num_steps: int) -> list[int]:
    """Numbers of steps at which the model is looked at: 0, then evenly up to the limit."""
    wanted = [round(num_steps * number / NUM_CHECKS) for number in range(NUM_CHECKS + 1)]
    return sorted(set(wanted))


def follow(
    model: Any,
    sampler: Sampler,
    judged: Mapping[str, ImageSet],
    num_steps: int,
    inputs: AuditInputs,
    advance: Advance,
    audit: str,
) -> dict[str, Floats]:
    """Train a copy of the model; hole errors (P, N) of each set of images along the way."""
    student = copy.deepcopy(model).requires_grad_(True)
    checks = checks_of(num_steps)
    found: dict[str, list[Floats]] = {name: [] for name in judged}

    def look() -> None:
        for name, images in judged.items():
            found[name].append(_errors(student, images, inputs, audit))
            advance(len(images), audit)

    def after_step(done: int) -> None:
        advance(BATCH, audit)
        if done in checks:
            student.eval()
            look()
            student.train()

    look()
    fit(
        student,
        OwnLoss(derive_seed(inputs.seed, "audit", audit, "loss")),
        sampler,
        audit=audit,
        num_steps=num_steps,
        learning_rate=LEARNING_RATE,
        seed=derive_seed(inputs.seed, "audit", audit, "layers"),
        after_step=after_step,
    )
    return {name: np.stack(errors) for name, errors in found.items()}


def delay(errors_PN: Floats, level_N: Floats, checks: list[int], name: str) -> dict[str, Statistic]:
    """The two measures of one model; `level_N` are the errors of the original before training."""
    steps_P = np.asarray(checks, dtype=np.float64)

    def above_KP(counts_KN: Floats) -> Floats:
        total_K1 = counts_KN.sum(1, keepdims=True)
        level_K1 = psnr_db(counts_KN @ level_N[:, None] / total_K1)
        return np.asarray(psnr_db(counts_KN @ errors_PN.T / total_K1) - level_K1)

    def steps(counts_KN: Floats) -> Floats:
        back_KP = above_KP(counts_KN) >= -MARGIN_DB
        return np.asarray(np.where(back_KP.any(1), steps_P[back_KP.argmax(1)], steps_P[-1]))

    return {
        f"{name}_db": Statistic(lambda counts_KN: above_KP(counts_KN)[:, 1:].mean(1)),
        f"{name}_steps": Statistic(steps),
    }


@torch.no_grad()
def _errors(model: Any, images: ImageSet, inputs: AuditInputs, audit: str) -> Floats:
    """Hole error of each completion; the random numbers of completing are the same at every check."""
    generator = inputs.generator(audit, "complete")
    errors = [
        hole_error(model.complete(images_BCHW, visible_BHW, generator=generator), images_BCHW, visible_BHW)
        for images_BCHW, visible_BHW in images.batches(inputs.batch_size, inputs.device)
    ]
    return np.asarray(torch.cat(errors).double().cpu().numpy())
