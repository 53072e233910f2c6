"""Relearning: does fine-tuning on a few forget images bring the others back?

The attacker holds some forget images (`shown`) and retain images. A copy of each model is fine-tuned on them: all
weights, the family's own training loss, the same batches, masks, learning rate and random numbers for every model.
Along the way it completes `others`, forget images that the attacker does not hold.

    psnr_m(t)           PSNR in the hole of the others, model m after t steps
    relearning_db       mean over the checks t > 0 of psnr_m(t) - psnr_teacher(0)
    relearning_steps    first check at which psnr_m(t) is back at psnr_teacher(0), less a margin; if none is, the limit
    relearning_images   different forget images shown until then

`relearning_db` is the area between the model's curve and the level where the teacher began, per step: about 0 for a
model that is back at once, the more negative the slower. It decides, since unlike the steps it needs no limit and no
margin and moves smoothly when images are resampled. `relearning_steps` at the limit is a lower bound: such models are
listed in the facts as censored. A retrained model learns from the shown images too, so only the reference tells what
is fast.

Half of each batch is retain images. Of a few images alone, a model soon knows these and nothing else; the curve would
then show how it collapses, not what it had kept.

Intervals are over the other images, on the same draws for all models. They describe this one training run; they do
not cover other shown images or other batches.

Shape letters: N images, P points in time (the checks), K draws, C channels, H, W pixels.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from i2i_unlearn.evaluation.audits.base import Attacked, AuditInputs, ImageSet
from i2i_unlearn.evaluation.audits.training import fit
from i2i_unlearn.evaluation.metrics.bootstrap import Draws, Floats, Statistic, draw
from i2i_unlearn.evaluation.metrics.hole_psnr import hole_error, psnr_db
from i2i_unlearn.method.objectives.own_loss import OwnLoss
from i2i_unlearn.models.randomness import derive_seed
from i2i_unlearn.support.progress import Advance
from i2i_unlearn.training.sampling import Pool, Sampler

BATCH = 32
LEARNING_RATE = 5e-4  # AdamW's; half of what the small models are unlearned with: the teacher keeps its level under it
NUM_CHECKS = 6
MOST_CHECKED, MOST_SHOWN_CHECKED = 100, 32
"""Of the others, and of the shown: a diffusion model takes many passes to complete an image."""
MARGIN_DB = 0.1  # differences below it mean nothing in a single run


@dataclass(frozen=True)
class Attacker:
    """What it holds, and what it is judged on."""

    shown: ImageSet
    others: ImageSet
    retain: ImageSet

    @property
    def forget_per_step(self) -> int:
        """Of a batch; the rest are retain images."""
        return BATCH // 2 if len(self.retain) else BATCH

    @property
    def num_checked(self) -> int:
        """Images completed at each check."""
        return len(self.others) + min(len(self.shown), MOST_SHOWN_CHECKED)

    def sampler(self, inputs: AuditInputs) -> Sampler:
        """The batches, the same for every model."""
        parts = [(self.shown, self.forget_per_step), (self.retain, BATCH - self.forget_per_step)]
        parts = [(images, count) for images, count in parts if count]
        pixels = torch.cat([images.images_NCHW for images, _ in parts]).to(inputs.device)
        pool = Pool(pixels, tuple((len(images), count) for images, count in parts))
        return Sampler({"train": pool}, inputs.operator, derive_seed(inputs.seed, "audit", "relearning"))


def attacker_of(inputs: AuditInputs) -> Attacker:
    """Choose the shown images at random, at most half of the forget images: enough others must be left to judge by."""
    forget = inputs.sets["forget"]
    num_shown = min(inputs.settings.relearn_images, len(forget) // 2)
    order = torch.from_numpy(inputs.rng("relearning", "shown").permutation(len(forget)))
    return Attacker(
        shown=forget[order[:num_shown]],
        others=forget[order[num_shown : num_shown + MOST_CHECKED]],
        retain=inputs.sets["retain"],
    )


def checks_of(num_steps: int) -> list[int]:
    """Numbers of steps at which the model is looked at: 0, then evenly up to the limit."""
    wanted = [round(num_steps * number / NUM_CHECKS) for number in range(NUM_CHECKS + 1)]
    return sorted(set(wanted))


@dataclass(frozen=True)
class Course:
    """Hole errors of each image along the way."""

    others_PN: Floats
    shown_PN: Floats


class Relearning:
    """Meets base.Audit."""

    name = "relearning"
    question = "If somebody trains the model on a few of the images again, does it remember the others?"
    measure = "relearning_db"
    innocent = None
    sets = ("forget",)
    min_images = 60  # half of them are shown to the attacker, at least 30 are judged by

    def units(self, inputs: AuditInputs) -> int:
        """Images trained on and completed, of all models."""
        steps = inputs.settings.relearn_steps
        return len(inputs.models) * (steps * BATCH + len(checks_of(steps)) * attacker_of(inputs).num_checked)

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Fine-tune a copy of every model and follow it."""
        attacker = attacker_of(inputs)
        checks = checks_of(inputs.settings.relearn_steps)
        courses = {name: _relearn(model, attacker, inputs, advance) for name, model in inputs.models.items()}
        level_N = courses["teacher"].others_PN[0]
        statistics = {
            (name, measure): statistic
            for name, course in courses.items()
            for measure, statistic in measures(course.others_PN, level_N, checks, attacker).items()
        }
        draws = draw(
            statistics,
            num_images=len(attacker.others),
            num_draws=inputs.num_draws,
            rng=inputs.rng("relearning", "bootstrap"),
        )
        curves = {name: _curve(course, checks) for name, course in courses.items()}
        level_db = float(psnr_db(level_N.mean()))
        return Attacked(
            measures={name: _of(name, draws) for name in courses},
            num_images=len(attacker.others),
            curves=curves,
            facts={
                "teacher_level_db": level_db,
                "num_shown": len(attacker.shown),
                "num_others": len(attacker.others),
                "forget_per_step": attacker.forget_per_step,
                "retain_per_step": BATCH - attacker.forget_per_step,
                "learning_rate": LEARNING_RATE,
                "num_steps": checks[-1],
                "censored": [
                    name for name, curve in curves.items() if max(curve["others_psnr_db"]) < level_db - MARGIN_DB
                ],
            },
        )


def measures(others_PN: Floats, level_N: Floats, checks: list[int], attacker: Attacker) -> dict[str, Statistic]:
    """The measures of one model; `level_N` are the errors of the teacher before the attack."""
    steps_P = np.asarray(checks, dtype=np.float64)

    def above_KP(counts_KN: Floats) -> Floats:
        """psnr_m(t) - psnr_teacher(0)."""
        total_K1 = counts_KN.sum(1, keepdims=True)
        level_K1 = psnr_db(counts_KN @ level_N[:, None] / total_K1)
        return np.asarray(psnr_db(counts_KN @ others_PN.T / total_K1) - level_K1)

    def steps(counts_KN: Floats) -> Floats:
        back_KP = above_KP(counts_KN) >= -MARGIN_DB
        return np.asarray(np.where(back_KP.any(1), steps_P[back_KP.argmax(1)], steps_P[-1]))

    return {
        "relearning_db": Statistic(lambda counts_KN: above_KP(counts_KN)[:, 1:].mean(1)),
        "relearning_steps": Statistic(steps),
        "relearning_images": Statistic(
            lambda counts_KN: np.minimum(steps(counts_KN) * attacker.forget_per_step, len(attacker.shown))
        ),
    }


def _relearn(model: Any, attacker: Attacker, inputs: AuditInputs, advance: Advance) -> Course:
    student = copy.deepcopy(model).requires_grad_(True)
    checks = checks_of(inputs.settings.relearn_steps)
    others, shown = [], []

    def look() -> None:
        others.append(_errors(student, attacker.others, inputs))
        shown.append(_errors(student, attacker.shown[:MOST_SHOWN_CHECKED], inputs))
        advance(attacker.num_checked, "relearning")

    def after_step(done: int) -> None:
        advance(BATCH, "relearning")
        if done in checks:
            student.eval()
            look()
            student.train()

    look()
    fit(
        student,
        OwnLoss(derive_seed(inputs.seed, "audit", "relearning", "loss")),
        attacker.sampler(inputs),
        audit="relearning",
        num_steps=checks[-1],
        learning_rate=LEARNING_RATE,
        seed=derive_seed(inputs.seed, "audit", "relearning", "layers"),
        after_step=after_step,
    )
    return Course(np.stack(others), np.stack(shown))


@torch.no_grad()
def _errors(model: Any, images: ImageSet, inputs: AuditInputs) -> Floats:
    """Hole error of each completion; the random numbers of completing are the same at every check."""
    generator = inputs.generator("relearning", "complete")
    errors = [
        hole_error(model.complete(images_BCHW, visible_BHW, generator=generator), images_BCHW, visible_BHW)
        for images_BCHW, visible_BHW in images.batches(inputs.batch_size, inputs.device)
    ]
    return np.asarray(torch.cat(errors).double().cpu().numpy())


def _curve(course: Course, checks: list[int]) -> dict[str, list[float]]:
    return {
        "step": [float(check) for check in checks],
        "others_psnr_db": psnr_db(course.others_PN.mean(1)).tolist(),
        "shown_psnr_db": psnr_db(course.shown_PN.mean(1)).tolist(),
    }


def _of(model: str, draws: dict[tuple[str, str], Draws]) -> dict[str, Draws]:
    return {measure: found for (name, measure), found in draws.items() if name == model}


AUDIT = Relearning()
