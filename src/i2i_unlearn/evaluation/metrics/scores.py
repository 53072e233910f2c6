"""From observations to the tables of metrics.json: scores, paired differences and ratios, each with its interval."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from i2i_unlearn.evaluation.findings import PAIRS, pair_name, ratio_name
from i2i_unlearn.evaluation.metrics.bootstrap import Draws, Measured, draw, measured
from i2i_unlearn.evaluation.metrics.observations import Observations
from i2i_unlearn.evaluation.metrics.table import RATIO_METRICS, statistics_of

Table = dict[str, dict[str, dict[str, Measured]]]
"""model or pair -> set -> metric -> measurement"""


@dataclass(frozen=True)
class Scores:
    """The measured part of metrics.json; sets are added one by one."""

    scores: Table = field(default_factory=dict)
    differences: Table = field(default_factory=dict)
    ratios: Table = field(default_factory=dict)

    def add(
        self,
        set_name: str,
        seen: Mapping[str, Observations],
        *,
        extractor: str,
        num_draws: int,
        rng: np.random.Generator,
    ) -> None:
        """Measure all models on one set, all on the same resampled images."""
        num_images = len(next(iter(seen.values())).hole_error_N)
        statistics = {
            (model, metric): statistic
            for model, observations in seen.items()
            for metric, statistic in statistics_of(observations, extractor).items()
        }
        drawn = draw(statistics, num_images=num_images, num_draws=num_draws, rng=rng)
        for (model, metric), draws in drawn.items():
            _put(self.scores, model, set_name, metric, measured(draws, num_images))
        self._compare(set_name, drawn, num_images)

    def _compare(self, set_name: str, drawn: Mapping[tuple[str, str], Draws], num_images: int) -> None:
        for of, against in PAIRS:
            metrics = [metric for model, metric in drawn if model == of and (against, metric) in drawn]
            for metric in metrics:
                one, other = drawn[of, metric], drawn[against, metric]
                difference = measured(one.minus(other), num_images)
                _put(self.differences, pair_name(of, against), set_name, metric, difference)
                ratio = one.divided_by(other) if metric in RATIO_METRICS else None
                if ratio is not None:
                    _put(self.ratios, ratio_name(of, against), set_name, metric, measured(ratio, num_images))


def _put(table: Table, row: str, set_name: str, metric: str, value: Measured) -> None:
    table.setdefault(row, {}).setdefault(set_name, {})[metric] = value
