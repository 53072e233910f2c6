"""From observations to the tables of metrics.json: scores and comparisons of models, each with its interval."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i_unlearn.evaluation.findings import (
    FEWEST_OF_CLASS,
    GAP_SETS,
    PAIRS,
    UNLEARNED,
    is_reference,
    pair_name,
    ratio_name,
)
from i2i_unlearn.evaluation.metrics import relative
from i2i_unlearn.evaluation.metrics.bootstrap import Draws, Measured, draw, measured
from i2i_unlearn.evaluation.metrics.hole_psnr import of_errors, of_some
from i2i_unlearn.evaluation.metrics.observations import ImageFacts, Observations
from i2i_unlearn.evaluation.metrics.table import RATIO_METRICS, statistics_of

Table = dict[str, dict[str, dict[str, Measured]]]
"""model or pair -> set -> metric (in `classes`: class) -> measurement"""

_PSNR = "hole_psnr_db"


@dataclass(frozen=True)
class Scores:
    """The measured part of metrics.json; sets are added one by one."""

    scores: Table = field(default_factory=dict)
    differences: Table = field(default_factory=dict)
    ratios: Table = field(default_factory=dict)
    classes: Table = field(default_factory=dict)
    """Of pairs: the difference in hole PSNR on each class. The intervals of a set's classes hold together."""
    relative: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """set -> metric -> whether the unlearned model is farther from the references than these are from each other."""
    _draws: dict[tuple[str, str], Draws] = field(default_factory=dict)
    """Hole PSNR by set and model."""

    def add(
        self,
        set_name: str,
        seen: Mapping[str, Observations | ImageFacts],
        *,
        extractor: str,
        num_draws: int,
        rng: np.random.Generator,
        labels_N: NDArray[np.str_] | None = None,
    ) -> None:
        """Measure all models on one set, all on the same resampled images; `labels_N` are the images' classes."""
        num_images = len(next(iter(seen.values())).hole_error_N)
        common = _common_classes(labels_N)
        statistics = {
            (model, metric): statistic
            for model, observations in seen.items()
            for metric, statistic in statistics_of(observations, extractor).items()
        }
        by_class = {
            (model, label): of_some(observations.hole_error_N, places)
            for model, observations in seen.items()
            for label, places in common.items()
        }
        among = {
            (model, reference): of_errors(error_N)
            for model, observations in seen.items()
            for reference, error_N in observations.reference_errors.items()
        }
        drawn = draw(
            {("score", key): statistic for key, statistic in statistics.items()}
            | {("class", key): statistic for key, statistic in by_class.items()}
            | {("to reference", key): statistic for key, statistic in among.items()},
            num_images=num_images,
            num_draws=num_draws,
            rng=rng,
        )
        scored, of_classes, to_references = (
            {key: draws for (kind, key), draws in drawn.items() if kind == wanted}
            for wanted in ("score", "class", "to reference")
        )
        for (model, metric), draws in scored.items():
            _put(self.scores, model, set_name, metric, measured(draws, num_images))
            if metric == _PSNR:
                self._draws[set_name, model] = draws
        self._compare(set_name, scored, num_images)
        for of, against in _pairs(seen):
            for label, places in common.items():
                difference = of_classes[of, label].minus(of_classes[against, label])
                _put(
                    self.classes,
                    pair_name(of, against),
                    set_name,
                    label,
                    measured(difference, len(places), of=len(common)),
                )
        found = relative.tests(scored, to_references, [name for name in seen if is_reference(name)], num_images)
        if UNLEARNED in seen and found:
            self.relative[set_name] = found

    def gaps(self) -> Table:
        """Pair -> "retain-retain_holdout" -> hole_psnr_db: how far the gap between the two sets grew."""
        found: Table = {}
        sets = [{model: draws for (name, model), draws in self._draws.items() if name == of} for of in GAP_SETS]
        for of, against in _pairs(set(sets[0]) & set(sets[1])):
            growth = [drawn[of].minus(drawn[against]) for drawn in sets]
            num_images = min(self.scores[of][name][_PSNR]["num_images"] for name in GAP_SETS)
            growth_of_gap = measured(growth[0].minus(growth[1]), num_images)
            _put(found, pair_name(of, against), pair_name(*GAP_SETS), _PSNR, growth_of_gap)
        return found

    def _compare(self, set_name: str, drawn: Mapping[tuple[str, str], Draws], num_images: int) -> None:
        for of, against in _pairs({model for model, _ in drawn}):
            metrics = [metric for model, metric in drawn if model == of and (against, metric) in drawn]
            for metric in metrics:
                one, other = drawn[of, metric], drawn[against, metric]
                difference = measured(one.minus(other), num_images)
                _put(self.differences, pair_name(of, against), set_name, metric, difference)
                ratio = one.divided_by(other) if metric in RATIO_METRICS else None
                if ratio is not None:
                    _put(self.ratios, ratio_name(of, against), set_name, metric, measured(ratio, num_images))


def _pairs(models: Any) -> list[tuple[str, str]]:
    return [pair for pair in PAIRS if set(pair) <= set(models)]


def _common_classes(labels_N: NDArray[np.str_] | None) -> dict[str, NDArray[np.int64]]:
    """Places of the images of each class of which enough are scored; images without a class belong to none."""
    if labels_N is None:
        return {}
    labels, counts = np.unique(labels_N, return_counts=True)
    enough = labels[(counts >= FEWEST_OF_CLASS) & (labels != "")]
    return {str(label): np.flatnonzero(labels_N == label) for label in enough}


def _put(table: Table, row: str, set_name: str, metric: str, value: Measured) -> None:
    table.setdefault(row, {}).setdefault(set_name, {})[metric] = value
