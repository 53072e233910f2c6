"""Perturbation: does a slightly different input bring out what the model seems to have forgotten?

Hsu, Niroula, He, Brugere, Lecue, Chen, "The unseen threat: residual knowledge in machine unlearning under perturbed
samples", NeurIPS 2025, arXiv:2601.22359: an unlearned classifier may recognise neighbours of a forgotten image which a
retrained one does not. Their residual knowledge is, over neighbours x' of a forget image, the ratio of Pr[unlearned
model is right at x'] to Pr[retrained model is right at x']. A completion is not right or wrong but nearer to the hidden
truth or farther from it, so here, with e_m(x') the error in the hole of model m,

    nearer_i   share of the K neighbours x' of image i at which e_m(x') < e_reference(x'); equal counts one half
    gain_i     how many dB the best of the K neighbours is completed better than image i itself

    nearer_than_reference   mean of nearer_i over forget images, less the same over never-trained images
    gain_db                 mean of gain_i over forget images, less the same over never-trained images

Subtracting the second mean removes how good, or how sensitive to noise, a model is in general. A model that knows
nothing of the forget images has 0 in `nearer_than_reference`, and so has the reference itself by definition; without a
reference it cannot be measured. The never-trained images are those held out of the images to keep: of the images that
the request selects, the original model knows more than a retrained one even where it was not trained on them.

Neighbours: each visible pixel is moved by a uniform draw of at most SIZE, hidden ones are not seen anyway; the same
draws for every model. The paper searches adversarially too; here neighbours are drawn at random, a weaker attack.

Shape letters: B batch, N forget images, P never-trained images, K neighbours, C channels, H, W pixels.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i_unlearn.evaluation.audits.base import Attacked, AuditInputs, ImageSet
from i2i_unlearn.evaluation.audits.two_sets import mean_difference, resample
from i2i_unlearn.evaluation.metrics.bootstrap import Draws, Floats
from i2i_unlearn.evaluation.metrics.hole_psnr import hole_error, psnr_db
from i2i_unlearn.support.progress import Advance

SIZE = 8 / 255
"""Of pixels in [0, 1], in the largest norm: the size that adversarial examples are commonly called imperceptible at,
and about the 0.03 of the paper."""
CONTROL = "retain_holdout"


class Perturbation:
    """Meets base.Audit."""

    name = "perturbation"
    question = "Does an image that differs a little bring back what the model seems to have forgotten?"
    measure = "nearer_than_reference"
    innocent = 0.0
    sets = ("forget", CONTROL)
    min_images = 50  # an image's share is between 0 and 1: the interval of a difference is then about +-0.15 at most

    def units(self, inputs: AuditInputs) -> int:
        """Completions of all models."""
        num_images = sum(len(inputs.sets[name]) for name in self.sets)
        return len(inputs.models) * num_images * (1 + inputs.settings.perturbations)

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Complete images and their neighbours by every model."""
        errors = {
            name: {of: _errors(model, inputs.sets[of], inputs, advance, of) for of in self.sets}
            for name, model in inputs.models.items()
        }
        num_forget, num_control = (len(inputs.sets[name]) for name in self.sets)
        drawn = resample(num_forget, num_control, inputs.num_draws, inputs.rng("perturbation", "bootstrap"))
        measures: dict[str, dict[str, Draws]] = {}
        for name, of_sets in errors.items():
            gains = [gain_db(of_sets[of]) for of in self.sets]
            measures[name] = {"gain_db": drawn.draws(mean_difference(*gains))}
            if "reference" in errors:
                nearer = [nearer_share(of_sets[of], errors["reference"][of]) for of in self.sets]
                measures[name]["nearer_than_reference"] = drawn.draws(mean_difference(*nearer))
        return Attacked(
            measures=measures,
            num_images=min(num_forget, num_control),
            compared_with=CONTROL,
            facts={"perturbations": inputs.settings.perturbations, "size_of_255": round(SIZE * 255)},
        )


def perturbed(images_BCHW: Tensor, visible_BHW: Tensor, generator: torch.Generator) -> Tensor:
    """A neighbour of each image in [-1, 1]: visible pixels move by at most SIZE of [0, 1] pixels and stay in range."""
    noise = 2 * SIZE * (2 * torch.rand(images_BCHW.shape, generator=generator) - 1)
    return torch.where(visible_BHW.unsqueeze(1), (images_BCHW + noise.to(images_BCHW.device)).clamp(-1, 1), images_BCHW)


@torch.inference_mode()
def _errors(model: Any, images: ImageSet, inputs: AuditInputs, advance: Advance, set_name: str) -> Floats:
    """Errors in the hole (N, 1 + K): of each image itself, then of its neighbours."""
    num = inputs.settings.perturbations
    noise = inputs.generator("perturbation", "noise", set_name)
    chance = [inputs.generator("perturbation", "complete", set_name, number) for number in range(1 + num)]
    parts = []
    for images_BCHW, visible_BHW in images.batches(inputs.batch_size, inputs.device):
        columns = []
        for number, generator in enumerate(chance):
            shown = perturbed(images_BCHW, visible_BHW, noise) if number else images_BCHW
            completed = model.complete(shown, visible_BHW, generator=generator)
            columns.append(hole_error(completed, images_BCHW, visible_BHW).double().cpu())
            advance(len(images_BCHW), "perturbation")
        parts.append(torch.stack(columns, 1))
    return torch.cat(parts).numpy()


def nearer_share(error_NK: Floats, reference_NK: Floats) -> Floats:
    """Share of the neighbours (columns from 1 on) that the model completes nearer to the truth than the reference."""
    own, other = error_NK[:, 1:], reference_NK[:, 1:]
    return np.asarray((own < other).mean(1) + 0.5 * (own == other).mean(1))


def gain_db(error_NK: Floats) -> Floats:
    """PSNR of the best neighbour less that of the image itself (column 0)."""
    return psnr_db(error_NK[:, 1:].min(1)) - psnr_db(error_NK[:, 0])


AUDIT = Perturbation()
