"""Membership inference: can forget images be told from images never trained on?

Three attacks, each of which gives every image a score; higher = more likely trained on.

    loss         - the model's own training loss. Yeom, Giacomelli, Fredrikson, Jha, CSF 2018, sec. 3: a model does
                 better on what it was trained on.
    similarity   how alike a completion and the hidden original are: - log of the error in the hole, plus the cosine of
                 their features, each divided by its spread over the never-trained images. Reconstruction attacks on
                 generative models: Hilprecht, Haerterich, Bernau, PoPETs 2019; Chen, Yu, Zhang, Fritz, CCS 2020
                 (GAN-Leaks).
    calibrated   the loss against that of references, image by image (calibration.py); decides where there is one.

Where a model draws at random, losses and similarities are averaged over several draws of each image. Reported are the
area under the ROC curve (1/2 = a guess) and, after Carlini et al., "Membership inference attacks from first
principles", S&P 2022, the share of members found where 1 % or .1 % of the others are taken for members: an attack that
names few members for certain is worse than one that guesses a little better for all. Its interval is exact (Clopper and
Pearson) at the threshold chosen, which `facts` tell.

    calibrated_excess   calibrated area of a model less the mean of the references' own, of each by the others; less 1/2
                        where there is only one

`worst_images` in `facts` are the forget images that an attacker of the unlearned model names first, by keyed code: by
calibrated score where there is a reference, else by loss, which puts images first that are easy for any model.

The audit is blind only where neither the loss nor the calibrated score finds the original model.

The others are held out of what the request selects, so class content does not tell members from others. Where there
are too few of these they are held out of the images to keep; then the reference alone tells.

Where the request names images one by one, the others are all never-seen images, and areas are taken class by class
(matching.py): chance is the innocent value if they are of the same kinds. Thresholds of the rates, and the curves, are
those of one attacker for all classes.

Shape letters: N members (forget images), P others.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i_unlearn.evaluation.audits.base import Attacked, AuditInputs
from i2i_unlearn.evaluation.audits.calibration import calibrated, worst
from i2i_unlearn.evaluation.audits.matching import Matching, all_together, by_class
from i2i_unlearn.evaluation.audits.seen import Likeness, Losses, likeness_of_all, log_loss, losses_of_all
from i2i_unlearn.evaluation.audits.two_sets import TwoSets, curve, found_at, resample
from i2i_unlearn.evaluation.findings import UNLEARNED, is_reference
from i2i_unlearn.evaluation.metrics.bootstrap import Draws, Floats
from i2i_unlearn.support.progress import Advance

FALSE_ALARMS = {"tpr_at_1pct_fpr": 0.01, "tpr_at_01pct_fpr": 0.001}
FALSE_ALARMS_NEEDED = 10
"""With fewer others above a threshold, the rate of false alarms there is not known: 1,000 others for 1 %, 10,000 for
.1 %."""
_CHANCE = 0.5

Scores = Mapping[str, tuple[Floats, Floats]]
"""By attack: scores of members and of others."""


class Membership:
    """Meets base.Audit."""

    name = "membership"
    question = "Can one tell from the model that an image was among those it was trained on?"
    measure = "auc_loss"
    innocent = _CHANCE
    sets = ("forget", "never_seen")
    min_images = 10  # with fewer members resampling gives too narrow an interval; with 10 that of an AUC is about +-0.2

    def units(self, inputs: AuditInputs) -> int:
        """Images of both sets, once for losses and once for completions, of all models."""
        return 2 * len(inputs.models) * inputs.num_images(("forget", *inputs.never_seen(self.min_images)))

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Score forget and never-trained images under every model."""
        never_seen = inputs.never_seen(self.min_images)
        sets = (("forget",), never_seen)
        losses = {name: [losses_of_all(inputs, name, of, advance, self.name) for of in sets] for name in inputs.models}
        likeness = {
            name: [likeness_of_all(inputs, name, of, advance, self.name) for of in sets] for name in inputs.models
        }
        by_calibration = [calibrated({name: log_loss(both[of]) for name, both in losses.items()}) for of in range(2)]
        members, others = next(iter(losses.values()))
        liked = next(iter(likeness.values()))
        matching = matching_of(inputs, members.labels_N, others.labels_N)
        of_liked = matching_of(inputs, liked[0].labels_N, liked[1].labels_N)

        @functools.cache
        def drawn(num_members: int, num_others: int) -> TwoSets:
            return resample(num_members, num_others, inputs.num_draws, inputs.rng("membership", "bootstrap"))

        measures, curves, thresholds = {}, {}, {}
        for name in inputs.models:
            scores = dict(scores_of(losses[name], likeness[name]))
            if name in by_calibration[0]:
                scores["calibrated"] = (by_calibration[0][name], by_calibration[1][name])
            measures[name] = {
                f"auc_{attack}": drawn(*map(len, both)).draws(
                    (of_liked if attack == "similarity" else matching).auc(*both)
                )
                for attack, both in scores.items()
            }
            rates, thresholds[name] = _rates(scores)
            measures[name] |= rates
            curves[name] = _curves(scores)
        compared_with = inputs.compared_with(never_seen)
        holds = inputs.is_alike(compared_with)
        _add_excess(measures, inputs.num_draws, chance_holds=holds)
        return Attacked(
            measures=measures,
            num_images=min(len(members.loss_N), len(others.loss_N)),
            compared_with=compared_with,
            innocent_holds=holds,
            curves=curves,
            deciding=("auc_calibrated", self.measure) if by_calibration[0] else (),
            facts=({"ranked_among_all_classes": matching.pooled} if inputs.one_by_one else {})
            | _facts(losses, likeness, thresholds, by_calibration[0], inputs.codes["forget"]),
        )


def matching_of(inputs: AuditInputs, labels_N: NDArray[np.str_], labels_P: NDArray[np.str_]) -> Matching:
    """Class by class where the request names images one by one; else all with all."""
    return by_class(labels_N, labels_P) if inputs.one_by_one else all_together(len(labels_N), len(labels_P))


def scores_of(losses: list[Losses], likeness: list[Likeness]) -> Scores:
    """Of the attacks without references; each list holds members and others.

    The scale of similarity is known to an attacker: the others' own.
    """
    others = likeness[1]
    error_scale, cosine_scale = (max(float(values.std()), 1e-12) for values in (others.log_error_N, others.cosine_N))
    similar = [seen.cosine_N / cosine_scale - seen.log_error_N / error_scale for seen in likeness]
    return {"loss": (-losses[0].loss_N, -losses[1].loss_N), "similarity": (similar[0], similar[1])}


def _rates(scores: Scores) -> tuple[dict[str, Draws], dict[str, dict[str, float]]]:
    """Share of members found at few false alarms, where there are enough others; and the thresholds."""
    rates, thresholds = {}, {}
    for attack, (member_N, other_P) in scores.items():
        for measure, most_fpr in FALSE_ALARMS.items():
            if len(other_P) * most_fpr >= FALSE_ALARMS_NEEDED:
                found = found_at(most_fpr, member_N, other_P)
                rates[f"{measure}_{attack}"] = Draws(found.tpr, None, ends=(found.low, found.high))
                thresholds[f"{measure}_{attack}"] = {"above": found.threshold, "false_alarms": found.fpr}
    return rates, thresholds


def _add_excess(measures: Mapping[str, dict[str, Draws]], num_draws: int, *, chance_holds: bool) -> None:
    """calibrated_excess of every model that is no reference; none where there is nothing to compare with."""
    own = [
        found["auc_calibrated"] for name, found in measures.items() if is_reference(name) and "auc_calibrated" in found
    ]
    if own:
        samples = [draws.samples_K for draws in own if draws.samples_K is not None]
        innocent = Draws(float(np.mean([draws.value for draws in own])), np.mean(samples, axis=0))
    elif chance_holds:
        innocent = Draws(_CHANCE, np.full(num_draws, _CHANCE))
    else:
        return
    for name, found in measures.items():
        if not is_reference(name) and "auc_calibrated" in found:
            found["calibrated_excess"] = found["auc_calibrated"].minus(innocent)


def _facts(
    losses: Mapping[str, list[Losses]],
    likeness: Mapping[str, list[Likeness]],
    thresholds: Mapping[str, Mapping[str, Any]],
    calibrated_scores: Mapping[str, Floats],
    codes_N: NDArray[np.str_],
) -> dict[str, Any]:
    members, others = next(iter(losses.values()))
    num_others, num_references = len(others.loss_N), sum(map(is_reference, losses))
    facts: dict[str, Any] = {
        "num_members": len(members.loss_N),
        "num_others": num_others,
        "num_references": num_references,
        "losses_averaged": members.num_averaged,
        "completions_averaged": next(iter(likeness.values()))[0].num_averaged,
        "thresholds": {name: dict(found) for name, found in thresholds.items() if found},
    }
    if UNLEARNED in losses:
        by = "calibrated" if UNLEARNED in calibrated_scores else "loss"
        scores_N = calibrated_scores.get(UNLEARNED, -losses[UNLEARNED][0].loss_N)
        places = worst(scores_N)
        facts["worst_images"] = {
            "by": by,
            "codes": codes_N[members.positions_N[places]].tolist(),
            "scores": scores_N[places].tolist(),
        }
    if not num_references:
        facts["calibrated_left_out"] = "needs one retrained reference (reference.count), there is none"
    elif num_references == 1:
        facts["reference_left_out"] = "a reference never calibrates itself: its own calibrated score needs a second one"
    for measure, most_fpr in FALSE_ALARMS.items():
        needed = round(FALSE_ALARMS_NEEDED / most_fpr)
        if num_others < needed:
            facts[f"{measure}_left_out"] = f"needs {needed} never-seen images, there are {num_others}"
    return facts


def _curves(scores: Scores) -> dict[str, list[float]]:
    """Columns of the ROC curves: fpr_loss, tpr_loss, fpr_similarity, tpr_similarity, ..."""
    return {f"{axis}_{attack}": column for attack, both in scores.items() for axis, column in curve(*both).items()}


AUDIT = Membership()
