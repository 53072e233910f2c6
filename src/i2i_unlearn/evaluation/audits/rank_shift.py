"""Rank shift: can forget images be told from never-seen ones by what the model answers? No retrained model is needed.

METHOD section 13. Each forget image is ranked among the never-seen images of its class, answered by the same model:

    error                       log of the mean squared error in the hole: memory
    contrast, roughness, edge   shapes of the answer (evaluation/metrics/shape.py): traces of how memory was removed

    <number>_rank     mean rank of forget images; 1/2 = like never-seen images, 0 = all below them
    <number>_shift    that rank less the rank under the original model
    retain_<number>_shift   the same of retain images: training may move it, so that it has no bound

What a shift means, rules `memory` and `shape` of policy lines (evaluation/gate.py) say. Two controls go with it, in
`facts`, to which the rules are applied as well:

    halves    never-seen images in two halves, one ranked among the other: must not fail
    flat      forget images answered by one flat colour, the mean around the hole: every shape is 0; must fail

It reads what `evaluate` saw of every scored image. Where few of these are never-seen images of a forget image's class,
further ones are completed (`inputs.further_never_seen`), which are compared with that class alone.
Shape letters: N forget images, P never-seen images.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i_unlearn.evaluation.audits.base import Attacked, AuditInputs
from i2i_unlearn.evaluation.audits.ranks import Comparison, Ranked, halves, rank_and_shift, ranked, same_class
from i2i_unlearn.evaluation.audits.two_sets import TwoSets, resample
from i2i_unlearn.evaluation.findings import EARLIER_HOLDOUT, NEVER_SEEN_SETS
from i2i_unlearn.evaluation.metrics.bootstrap import Draws, Floats, measured
from i2i_unlearn.evaluation.metrics.hole_psnr import SMALLEST_ERROR, hole_error
from i2i_unlearn.evaluation.metrics.observations import ImageFacts
from i2i_unlearn.evaluation.metrics.shape import SHAPES, shapes_of
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.support.progress import Advance

NUMBERS = ("error", *SHAPES)
FEWEST = 5
"""A mean of fewer ranks says nothing, and the ranks of single images have no power (METHOD section 13)."""


class RankShift:
    """Meets base.Audit."""

    name = "rank_shift"
    question = "Can one tell by the model's answers which images it was made to forget?"
    measure = "error_shift"
    innocent = None
    sets = ("forget", "never_trained")
    min_images = FEWEST

    def units(self, inputs: AuditInputs) -> int:
        """Numbers of all models, and further images that they complete."""
        return len(inputs.models) * (len(NUMBERS) + len(inputs.further_labels))

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Rank what every model answered."""
        groups = (("forget",), (*NEVER_SEEN_SETS, EARLIER_HOLDOUT), ("retain",))
        forget, scored, retain = (_Group.of(inputs, *sets) for sets in groups)
        never_seen = scored.and_further(_further(inputs, advance), inputs.further_labels)
        shifts = _Shifts(forget, never_seen, inputs, "forget")
        of_retain = _Shifts(retain, never_seen, inputs, "retain") if len(retain) else None
        measures: dict[str, dict[str, Draws]] = {name: {} for name in inputs.models}
        for name, found in measures.items():
            for number in NUMBERS:
                found |= shifts.measures(name, number)
                if of_retain:
                    found |= {f"retain_{key}": draws for key, draws in of_retain.measures(name, number).items()}
                advance(1, self.name)
        return Attacked(
            measures=measures,
            num_images=len(forget),
            compared_with="never_seen",
            status=("measured", "its controls stand in `facts`; the lines of a policy apply their rule to them"),
            facts={
                "num_never_seen": len(never_seen),
                "num_further_never_seen": len(never_seen) - len(scored),
                "ranked_among_all_classes": shifts.comparison.pooled,
                "controls": {"halves": _halves(never_seen, inputs), "flat": shifts.flat()},
            },
        )


class _Group:
    """Images of some sets together: their classes, and what each model answered."""

    def __init__(self, labels_N: NDArray[np.str_], facts: Mapping[str, list[ImageFacts]]) -> None:
        self.labels_N = labels_N
        self._facts = facts
        self.further_N = np.zeros(len(labels_N), dtype=bool)
        """Images that stand for their class alone."""

    @classmethod
    def of(cls, inputs: AuditInputs, *sets: str) -> "_Group":
        filled = [name for name in sets if inputs.observed.get(name)]
        labels = [inputs.labels[name] for name in filled]
        facts = {model: [inputs.observed[name][model] for name in filled] for model in inputs.models}
        return cls(np.concatenate(labels) if labels else np.empty(0, dtype=str), facts)

    def and_further(self, facts: Mapping[str, ImageFacts], labels_N: NDArray[np.str_]) -> "_Group":
        joined = _Group(
            np.concatenate((self.labels_N, labels_N)),
            {name: [*own, *([facts[name]] if facts else [])] for name, own in self._facts.items()},
        )
        joined.further_N[len(self) :] = True
        return joined

    def __len__(self) -> int:
        return len(self.labels_N)

    def values(self, model: str, number: str) -> Floats:
        """One number of every image."""
        if number == "error":
            return np.log(np.maximum(self._column(model, "hole_error_N"), SMALLEST_ERROR))
        return self._column(model, f"{number}_N")

    def _column(self, model: str, field: str) -> Floats:
        return np.concatenate([getattr(facts, field) for facts in self._facts[model]]).astype(np.float64)


class _Shifts:
    """Ranks of one group among the never-seen images, all models on the same draws."""

    def __init__(self, group: _Group, never_seen: _Group, inputs: AuditInputs, purpose: str) -> None:
        self._group, self._never_seen = group, never_seen
        self._original = inputs.original
        self.comparison = same_class(group.labels_N, never_seen.labels_N, never_seen.further_N)
        rng = inputs.rng("rank_shift", "bootstrap", purpose)
        self._drawn = resample(len(group), len(never_seen), inputs.num_draws, rng)

    def measures(self, model: str, number: str) -> dict[str, Draws]:
        """Rank and shift by name; none where the number does not exist for every image."""
        own, original = self._ranked(model, number), self._ranked(self._original, number)
        return _named(number, own, original, self._drawn)

    def flat(self) -> dict[str, Any]:
        """The shifts of a model that answers forget images with one flat colour, all of whose shapes are 0."""
        found: dict[str, Draws] = {}
        for number in SHAPES:
            original = self._ranked(self._original, number)
            never_seen = self._never_seen.values(self._original, number)
            zeros = np.zeros(len(self._group)) if original else np.full(len(self._group), np.nan)
            found |= _named(number, _ranked(zeros, never_seen, self.comparison), original, self._drawn)
        return {name: measured(draws, len(self._group)) for name, draws in found.items()}

    def _ranked(self, model: str, number: str) -> Ranked | None:
        return _ranked(self._group.values(model, number), self._never_seen.values(model, number), self.comparison)


@torch.inference_mode()
def _further(inputs: AuditInputs, advance: Advance) -> dict[str, ImageFacts]:
    """What every model makes of the further never-seen images; none where there are none."""
    if inputs.further is None:
        return {}
    found = {}
    for name, model in inputs.models.items():
        generator = generator_for(inputs.seed, "evaluate", "complete", "further")
        parts: list[dict[str, Tensor]] = []
        for images_BCHW, visible_BHW in inputs.further.batches(inputs.batch_size, inputs.device):
            completed = model.complete(images_BCHW, visible_BHW, generator=generator)
            shapes = shapes_of(completed, images_BCHW, visible_BHW)
            parts.append({"hole_error": hole_error(completed, images_BCHW, visible_BHW), **shapes})
            advance(len(images_BCHW), "rank_shift")
        columns = {f"{key}_N": torch.cat([part[key] for part in parts]).cpu().numpy() for key in parts[0]}
        not_taken = np.full(len(inputs.further), np.nan)
        found[name] = ImageFacts(reference_errors={}, own_loss_N=not_taken, feature_cosine_N=not_taken, **columns)
    return found


def _ranked(values_N: Floats, never_seen_P: Floats, comparison: Comparison) -> Ranked | None:
    exist = np.isfinite(values_N).all() and np.isfinite(never_seen_P).all()
    return ranked(values_N, never_seen_P, comparison) if exist else None


def _named(number: str, own: Ranked | None, original: Ranked | None, drawn: TwoSets) -> dict[str, Draws]:
    if own is None or original is None:
        return {}
    rank, shift = rank_and_shift(own, original, drawn)
    return {f"{number}_rank": rank, f"{number}_shift": shift}


def _halves(never_seen: _Group, inputs: AuditInputs) -> dict[str, Any]:
    """By number: rank and shift under the unlearned model of one half of the never-seen images among the other."""
    one, other = halves(never_seen.labels_N, inputs.rng("rank_shift", "halves"))
    if not len(one):
        return {}
    comparison = same_class(never_seen.labels_N[one], never_seen.labels_N[other], never_seen.further_N[other])
    drawn = resample(len(one), len(other), inputs.num_draws, inputs.rng("rank_shift", "bootstrap", "halves"))
    found: dict[str, Draws] = {}
    for number in NUMBERS:
        both = [never_seen.values(model, number) for model in ("unlearned", inputs.original)]
        own, original = (_ranked(values[one], values[other], comparison) for values in both)
        found |= _named(number, own, original, drawn)
    return {name: measured(draws, len(one)) for name, draws in found.items()}


AUDIT = RankShift()
