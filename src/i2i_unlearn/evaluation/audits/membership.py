"""Membership inference: can forget images be told from images never trained on?

Two attacks, each of which gives every image a score; higher = more likely trained on.

    loss         - the model's own training loss. Yeom, Giacomelli, Fredrikson, Jha, CSF 2018, sec. 3: a model does
                 better on what it was trained on.
    similarity   how alike a completion and the hidden original are: - log of the error in the hole, plus the cosine of
                 their features, each divided by its spread over the never-trained images. Reconstruction attacks on
                 generative models: Hilprecht, Haerterich, Bernau, PoPETs 2019; Chen, Yu, Zhang, Fritz, CCS 2020
                 (GAN-Leaks).

Where a model draws at random, losses and similarities are averaged over several draws of each image. Reported are the
area under the ROC curve (1/2 = a guess) and, after Carlini et al., "Membership inference attacks from first
principles", S&P 2022, the share of members found where 1 % of the others are taken for members: an attack that names
few members for certain is worse than one that guesses a little better for all. These are attacks by one threshold for
all images; attacks that train many models to calibrate a threshold for each image are stronger; they are not made here.

The others are held out of what the request selects, so class content does not tell members from others. Where there
are too few of these they are held out of the images to keep; then chance is the innocent value only if the request
names single images, and otherwise the reference alone tells.

Shape letters: N members (forget images), P others, B batch, D features.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i_unlearn.evaluation.audits.base import Attacked, AuditInputs, ImageSet
from i2i_unlearn.evaluation.audits.two_sets import TwoSets, auc, curve, resample, tpr_at
from i2i_unlearn.evaluation.metrics.bootstrap import Draws, Floats
from i2i_unlearn.evaluation.metrics.feature_cosine import cosine
from i2i_unlearn.evaluation.metrics.hole_psnr import SMALLEST_ERROR, hole_error
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.progress import Advance

FPR = 0.01
FEWEST_FOR_TPR = 1000
"""With fewer others the threshold at 1 % rests on fewer than ten of them: no bootstrap gives it an honest interval."""


@dataclass(frozen=True)
class Seen:
    """One model on one set, one number per image."""

    loss_N: Floats
    log_error_N: Floats
    cosine_N: Floats
    num_losses: int
    """Draws averaged; 1 where nothing is random."""
    num_completions: int


class Membership:
    """Meets base.Audit."""

    name = "membership"
    question = "Can one tell from the model that an image was among those it was trained on?"
    measure = "auc_loss"
    innocent = 0.5
    sets = ("forget", "never_trained")
    min_images = 50  # with 50 members and 50 others the interval of an AUC is about +-0.11 already

    def units(self, inputs: AuditInputs) -> int:
        """Images of both sets, once for losses and once for completions, of all models."""
        _, others = inputs.never_trained(self.min_images)
        return 2 * len(inputs.models) * (len(inputs.sets["forget"]) + len(others))

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Score forget and never-trained images under every model."""
        compared_with, others = inputs.never_trained(self.min_images)
        sets = {"forget": inputs.sets["forget"], compared_with: others}
        features = {name: _features(images, inputs) for name, images in sets.items()}
        drawn = resample(len(sets["forget"]), len(others), inputs.num_draws, inputs.rng("membership", "bootstrap"))
        measures, curves = {}, {}
        for name, model in inputs.models.items():
            members, non_members = (look(model, sets[of], features[of], inputs, advance, of) for of in sets)
            scores = scores_of(members, non_members)
            measures[name] = measures_of(scores, drawn)
            curves[name] = _curves(scores)
        facts: dict[str, Any] = {
            "num_members": len(sets["forget"]),
            "num_others": len(others),
            "losses_averaged": members.num_losses,
            "completions_averaged": members.num_completions,
        }
        if len(others) < FEWEST_FOR_TPR:
            facts["tpr_left_out"] = f"needs {FEWEST_FOR_TPR} never-trained images, there are {len(others)}"
        return Attacked(
            measures=measures,
            num_images=min(len(sets["forget"]), len(others)),
            compared_with=compared_with,
            innocent_holds=inputs.is_alike(compared_with),
            curves=curves,
            facts=facts,
        )


def look(
    model: Any, images: ImageSet, features_ND: Tensor, inputs: AuditInputs, advance: Advance, set_name: str
) -> Seen:
    """Losses and similarities of a set; `features_ND` are those of its originals."""

    def loss(_: slice, images_BCHW: Tensor, visible_BHW: Tensor, generator: torch.Generator) -> Tensor:
        return model.training_loss(images_BCHW, visible_BHW, generator=generator).float().cpu()  # type: ignore[no-any-return]

    def similarity(rows: slice, images_BCHW: Tensor, visible_BHW: Tensor, generator: torch.Generator) -> Tensor:
        completed = model.complete(images_BCHW, visible_BHW, generator=generator)
        error_B = hole_error(completed, images_BCHW, visible_BHW).cpu()
        alike_B = torch.from_numpy(cosine(inputs.extractor(completed).numpy(), features_ND[rows].numpy()))
        return torch.stack((error_B, alike_B), 1)

    loss_N, num_losses = averaged(inputs, images, loss, advance, "membership", "loss", set_name)
    similar_N2, num_completions = averaged(inputs, images, similarity, advance, "membership", "complete", set_name)
    log_error_N = np.log(np.maximum(similar_N2[:, 0], SMALLEST_ERROR))
    return Seen(loss_N, log_error_N, similar_N2[:, 1], num_losses, num_completions)


Look = Callable[[slice, Tensor, Tensor, torch.Generator], Tensor]
"""(rows, images_BCHW, visible_BHW, generator) -> numbers (B, ...) on the CPU."""


@torch.inference_mode()
def averaged(inputs: AuditInputs, images: ImageSet, look: Look, advance: Advance, *purpose: str) -> tuple[Floats, int]:
    """Means of what `look` gives (N, ...), and over how many draws: `num_completions`, or 1 where nothing is random.

    Draw k of every model has the same random numbers.

    Raises:
        UserError: a number is not finite.
    """
    num = inputs.settings.num_completions
    generators = [inputs.generator(*purpose, draw) for draw in range(num)]
    parts, start = [], 0
    for images_BCHW, visible_BHW in images.batches(inputs.batch_size, inputs.device):
        rows = slice(start, start + len(images_BCHW))
        draws = [look(rows, images_BCHW, visible_BHW, generators[0])]
        for number in range(1, num):
            draws.append(look(rows, images_BCHW, visible_BHW, generators[number]))
            if start == 0 and number == 1 and torch.equal(draws[0], draws[1]):
                num, draws = 1, draws[:1]  # other random numbers, same result: a family that draws nothing at random
                break
        parts.append(torch.stack(draws).double().mean(0))
        start = rows.stop
        advance(len(images_BCHW), purpose[0])
    found = torch.cat(parts).numpy()
    if not np.isfinite(found).all():
        raise UserError(
            f"audit {purpose[0]}: a model gives numbers that are not finite; its weights are broken, make it again"
        )
    return found, num


def scores_of(members: Seen, others: Seen) -> dict[str, tuple[Floats, Floats]]:
    """By attack: scores of members and of others. The scale of similarity is known to an attacker: the others' own."""
    error_scale, cosine_scale = (max(float(values.std()), 1e-12) for values in (others.log_error_N, others.cosine_N))
    similar = [seen.cosine_N / cosine_scale - seen.log_error_N / error_scale for seen in (members, others)]
    return {"loss": (-members.loss_N, -others.loss_N), "similarity": (similar[0], similar[1])}


def measures_of(scores: Mapping[str, tuple[Floats, Floats]], drawn: TwoSets) -> dict[str, Draws]:
    """AUC of each attack and, where there are enough others, its TPR at 1 % FPR."""
    found = {f"auc_{attack}": drawn.draws(auc(*both)) for attack, both in scores.items()}
    if drawn.other_KP.shape[1] >= FEWEST_FOR_TPR:
        found |= {f"tpr_at_1pct_fpr_{attack}": drawn.draws(tpr_at(FPR, *both)) for attack, both in scores.items()}
    return found


def _curves(scores: Mapping[str, tuple[Floats, Floats]]) -> dict[str, list[float]]:
    """Columns of the ROC curves: fpr_loss, tpr_loss, fpr_similarity, tpr_similarity."""
    return {f"{axis}_{attack}": column for attack, both in scores.items() for axis, column in curve(*both).items()}


def _features(images: ImageSet, inputs: AuditInputs) -> Tensor:
    return torch.cat(
        [inputs.extractor(images_BCHW) for images_BCHW, _ in images.batches(inputs.batch_size, inputs.device)]
    )


AUDIT = Membership()
