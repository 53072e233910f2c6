"""Coming back: does ordinary further training bring forgotten images back, without one of them being shown?

Unlearned concepts return when a model is fine-tuned on harmless images (arXiv:2410.08074, 2512.03564); the delay until
the original's level is the measure (arXiv:2604.09391; METHOD section 12.6). A copy of each model is trained on

    auxiliary   never-seen images, as anybody can collect them, for `relearn_steps` steps
    retain      images to keep, for one epoch, as whoever runs the model may do at any time

while it completes forget images; `<of>_db` and `<of>_steps` are the delay of course.py. Training makes a retrained
model better on them too, so only the reference tells what is fast. An epoch is one of `evaluate.audits.epoch_images`
retain images where there are more.

Intervals are over forget images, on the same draws for all models. They describe these training runs; they do not cover
other batches.
"""

from dataclasses import dataclass

import numpy as np
import torch

from i2i_unlearn.evaluation.audits.base import NEVER_SEEN, Attacked, AuditInputs, ImageSet
from i2i_unlearn.evaluation.audits.course import BATCH, LEARNING_RATE, MARGIN_DB, checks_of, delay, follow
from i2i_unlearn.evaluation.metrics.bootstrap import draw
from i2i_unlearn.evaluation.metrics.hole_psnr import psnr_db
from i2i_unlearn.models.randomness import derive_seed
from i2i_unlearn.support.progress import Advance
from i2i_unlearn.training.sampling import Sampler, single_pool

AUXILIARY, RETAIN = "auxiliary", "retain"
MOST_JUDGED = 100
"""Forget images that are completed at each check: a diffusion model takes many passes for an image."""


@dataclass(frozen=True)
class Training:
    """What the copies are trained on, and for how long."""

    images_NCHW: torch.Tensor
    num_steps: int


class ComingBack:
    """Meets base.Audit."""

    name = "coming_back"
    question = "Does further training bring the forgotten images back, although none of them is shown?"
    measure = "auxiliary_db"
    innocent = None
    sets = ("forget", NEVER_SEEN, "retain")
    min_images = 30

    def units(self, inputs: AuditInputs) -> int:
        """Images trained on and completed, of all models."""
        num_judged = len(self._judged(inputs))
        return len(inputs.models) * sum(
            one.num_steps * BATCH + len(checks_of(one.num_steps)) * num_judged
            for one in self._trainings(inputs).values()
        )

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Train a copy of every model on either set and follow it."""
        judged, trainings = self._judged(inputs), self._trainings(inputs)
        checks = {of: checks_of(one.num_steps) for of, one in trainings.items()}
        courses = {
            (name, of): follow(
                model, self._sampler(inputs, of, one), {"forget": judged}, one.num_steps, inputs, advance, self.name
            )["forget"]
            for name, model in inputs.models.items()
            for of, one in trainings.items()
        }
        level_N = courses[inputs.original, AUXILIARY][0]
        drawn = draw(
            {
                (name, measure): statistic
                for (name, of), errors_PN in courses.items()
                for measure, statistic in delay(errors_PN, level_N, checks[of], of).items()
            },
            num_images=len(judged),
            num_draws=inputs.num_draws,
            rng=inputs.rng(self.name, "bootstrap"),
        )
        curves = {(name, of): psnr_db(errors_PN.mean(1)).tolist() for (name, of), errors_PN in courses.items()}
        level_db = float(psnr_db(level_N.mean()))
        return Attacked(
            measures={
                name: {measure: found for (of, measure), found in drawn.items() if of == name} for name in inputs.models
            },
            num_images=len(judged),
            deciding=(self.measure, "retain_db"),
            curves={
                name: {f"{of}_psnr_db": curves[name, of] for of in trainings}
                | {f"{of}_step": [float(check) for check in checks[of]] for of in trainings}
                for name in inputs.models
            },
            facts={
                "original_level_db": level_db,
                "learning_rate": LEARNING_RATE,
                **{f"num_{of}_images": len(one.images_NCHW) for of, one in trainings.items()},
                **{f"num_{of}_steps": one.num_steps for of, one in trainings.items()},
                **{
                    f"{of}_censored": [name for name in inputs.models if max(curves[name, of]) < level_db - MARGIN_DB]
                    for of in trainings
                },
            },
        )

    def _judged(self, inputs: AuditInputs) -> ImageSet:
        """Some forget images, at random."""
        forget = inputs.sets["forget"]
        order = inputs.rng(self.name, "judged").permutation(len(forget))[:MOST_JUDGED]
        return forget[torch.from_numpy(np.sort(order))]

    def _trainings(self, inputs: AuditInputs) -> dict[str, Training]:
        never_seen = [inputs.sets[name].images_NCHW for name in inputs.never_seen(self.min_images)]
        retain = (inputs.epoch or inputs.sets["retain"]).images_NCHW
        return {
            AUXILIARY: Training(torch.cat(never_seen), inputs.settings.relearn_steps),
            RETAIN: Training(retain, -(-len(retain) // BATCH)),
        }

    def _sampler(self, inputs: AuditInputs, of: str, training: Training) -> Sampler:
        """The batches, the same for every model."""
        pool = single_pool(training.images_NCHW.to(inputs.device), BATCH)
        return Sampler({"train": pool}, inputs.operator, derive_seed(inputs.seed, "audit", self.name, of))


AUDIT = ComingBack()
