"""Relative test: is the unlearned model farther from retrained models than these are from each other?

Ribero, Schrab, Gretton, AISTATS 2026, arXiv:2601.19755; METHOD section 12.1:

    t = mean_i D(U, R_i) - mean_(i<j) D(R_i, R_j)        U unlearned, R_1 ... R_k retrained with other seeds, k >= 2

Metrics and their distances D: hole_psnr_db and output_spread |difference|; outputs_db the mean squared error in the
hole between two models' outputs, in dB. Paired over resampled images. There is no interval over references: k is small.
Shape letters: K draws.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from i2i_unlearn.evaluation.findings import UNLEARNED
from i2i_unlearn.evaluation.metrics.bootstrap import Draws, measured

FEWEST_REFERENCES = 2
OUTPUTS = "outputs_db"
ABSOLUTE = ("hole_psnr_db", "output_spread")
METRICS = (*ABSOLUTE, OUTPUTS)

Key = tuple[str, str]


def tests(
    scored: Mapping[Key, Draws], to_references: Mapping[Key, Draws], references: Sequence[str], num_images: int
) -> dict[str, dict[str, Any]]:
    """By metric: value, low, high, num_images of t, `to_references` and `among_references`; none below two references.

    `scored` is by (model, metric), `to_references` the PSNR between outputs by (model, reference).
    """
    if len(references) < FEWEST_REFERENCES:
        return {}
    found = {}
    for metric in METRICS:

        def distance(one: str, other: str, metric: str = metric) -> Draws:
            if metric == OUTPUTS:
                return _map(to_references[one, other], np.negative)
            return _map(scored[one, metric].minus(scored[other, metric]), np.abs)

        own = [distance(UNLEARNED, reference) for reference in references]
        among = [distance(*pair) for pair in itertools.combinations(references, 2)]
        found[metric] = {
            **measured(_mean(own).minus(_mean(among)), num_images),
            "to_references": [draws.value for draws in own],
            "among_references": [draws.value for draws in among],
        }
    return found


def _map(draws: Draws, function: np.ufunc) -> Draws:
    samples_K = None if draws.samples_K is None else function(draws.samples_K)
    return Draws(float(function(draws.value)), samples_K, draws.num_images)


def _mean(parts: Sequence[Draws]) -> Draws:
    samples = [part.samples_K for part in parts if part.samples_K is not None]
    samples_K = np.mean(samples, axis=0) if len(samples) == len(parts) else None
    return Draws(float(np.mean([part.value for part in parts])), samples_K, parts[0].num_images)
