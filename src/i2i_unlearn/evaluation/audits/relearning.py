"""Relearning: does fine-tuning on a few forget images bring the others back?

The attacker holds some forget images (`shown`) and retain images. A copy of each model is fine-tuned on them: all
weights, the family's own training loss, the same batches, masks, learning rate and random numbers for every model.
Along the way it completes `others`, forget images that the attacker does not hold.

    relearning_db, relearning_steps   the delay of course.py
    relearning_images                 different forget images shown until then

`relearning_steps` at the limit is a lower bound: such models are listed in the facts as censored. A retrained model
learns from the shown images too, so only the reference tells what is fast.

Half of each batch is retain images. Of a few images alone, a model soon knows these and nothing else; the curve would
then show how it collapses, not what it had kept.

Intervals are over the other images, on the same draws for all models. They describe this one training run; they do
not cover other shown images or other batches.

Shape letters: N images, P points in time (the checks), K draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from i2i_unlearn.evaluation.audits.base import Attacked, AuditInputs, ImageSet
from i2i_unlearn.evaluation.audits.course import BATCH, LEARNING_RATE, MARGIN_DB, checks_of, delay, follow
from i2i_unlearn.evaluation.metrics.bootstrap import Draws, Floats, Statistic, draw
from i2i_unlearn.evaluation.metrics.hole_psnr import psnr_db
from i2i_unlearn.models.randomness import derive_seed
from i2i_unlearn.support.progress import Advance
from i2i_unlearn.training.sampling import Pool, Sampler

MOST_CHECKED, MOST_SHOWN_CHECKED = 100, 32
"""Of the others, and of the shown: a diffusion model takes many passes to complete an image."""


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
        judged = {"others": attacker.others, "shown": attacker.shown[:MOST_SHOWN_CHECKED]}
        courses = {
            name: follow(model, attacker.sampler(inputs), judged, checks[-1], inputs, advance, self.name)
            for name, model in inputs.models.items()
        }
        level_N = courses["teacher"]["others"][0]
        statistics = {
            (name, measure): statistic
            for name, course in courses.items()
            for measure, statistic in measures(course["others"], level_N, checks, attacker).items()
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
    found = delay(others_PN, level_N, checks, "relearning")
    steps = found["relearning_steps"].of
    images = Statistic(lambda counts_KN: np.minimum(steps(counts_KN) * attacker.forget_per_step, len(attacker.shown)))
    return {**found, "relearning_images": images}


def _curve(course: Mapping[str, Floats], checks: list[int]) -> dict[str, list[float]]:
    return {
        "step": [float(check) for check in checks],
        "others_psnr_db": psnr_db(course["others"].mean(1)).tolist(),
        "shown_psnr_db": psnr_db(course["shown"].mean(1)).tolist(),
    }


def _of(model: str, draws: dict[tuple[str, str], Draws]) -> dict[str, Draws]:
    return {measure: found for (name, measure), found in draws.items() if name == model}


AUDIT = Relearning()
