"""Canaries: what a model gives away of images that entered its training, or did not, by the toss of a coin.

`pretrain.canaries` held-out images were each included in training by a fair coin (data/images/canaries.py). The auditor
knows the images and the model, not the coins, and guesses "included" for the half with the lowest loss, "not included"
for the others. Of m canaries, c right guesses refute (epsilon, delta)-differential privacy for every epsilon at which

    P[B >= c] + 2 m delta max_i P[c > B >= c - i] / i  <  1 - LEVEL,      B ~ Binomial(m, 1 / (1 + e^-epsilon))

(Steinke, Nasr, Jagielski, NeurIPS 2023, arXiv:2305.08846, theorem 5.2 and appendix D, here without abstention). It is a
lower bound from one training run: 0 says that nothing was found, not that there is nothing.

    epsilon_training    all canaries: what the training gives away, seen through this model
    epsilon_requested   the tested half alone: those included are withdrawn by a request of their own, the others were
                        never seen; what is left of the withdrawn ones

The tested half is drawn before the coins are tossed, so that among them, too, each was included with probability 1/2;
canaries outside it stay in training and would make the coin unfair. A retrained model never saw the withdrawn ones and
guesses at chance.

Shape letters: N canaries.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i_unlearn.evaluation.audits.base import Attacked, AuditInputs
from i2i_unlearn.evaluation.audits.seen import averaged
from i2i_unlearn.evaluation.metrics.bootstrap import LEVEL, Draws, Floats
from i2i_unlearn.support.progress import Advance

DELTA = 1e-5
FEWEST = 10
"""Of fewer canaries even all right guesses say little: 10 of 10 give an epsilon of 1.05, 5 of 5 one of .2."""
_HALVINGS = 60


def epsilon_at_least(num_right: int, num: int, delta: float = DELTA, num_canaries: int | None = None) -> float:
    """Lower bound on epsilon, at confidence `LEVEL`, from `num_right` of `num` guesses; 0 = nothing was found.

    `num_canaries` is the number of canaries where it is not all of them that were guessed.
    """

    def is_refuted(epsilon: float) -> bool:
        return p_value(num_right, num, epsilon, delta, num_canaries or num) < 1 - LEVEL

    low, high = 0.0, 1.0
    if not is_refuted(low):
        return 0.0
    while is_refuted(high):
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_refuted(middle) else (low, middle)
    return low


def p_value(num_right: int, num: int, epsilon: float, delta: float, num_canaries: int) -> float:
    """Largest probability of so many right guesses under (epsilon, delta)-differential privacy."""
    from scipy.stats import binom

    share = 1 / (1 + math.exp(-epsilon))
    at_least = float(binom.sf(num_right - 1, num, share))
    below = np.cumsum(binom.pmf(np.arange(num_right - 1, -1, -1), num, share))  # P[c > B >= c - i], i = 1, 2, ...
    worst = float((below / np.arange(1, num_right + 1)).max()) if num_right else 0.0
    return min(at_least + 2 * num_canaries * delta * worst, 1.0)


def num_right(loss_N: Floats, included_N: NDArray[np.bool_]) -> int:
    """Right guesses of who takes the half with the lowest loss for included; equal losses in order."""
    guessed_N = np.zeros(len(loss_N), dtype=bool)
    guessed_N[np.argsort(loss_N, kind="stable")[: len(loss_N) // 2]] = True
    return int((guessed_N == included_N).sum())


class CanaryAudit:
    """Meets base.Audit."""

    name = "canaries"
    question = "Does the model give away which canaries it was trained on, and those that were withdrawn since?"
    measure = "epsilon_requested"
    innocent = 0.0
    sets = ()
    min_images = FEWEST

    def units(self, inputs: AuditInputs) -> int:
        """Canaries, of all models."""
        return len(inputs.models) * len(inputs.canaries.images) if inputs.canaries else 0

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Guess by the loss of every model."""
        canaries = inputs.canaries
        if canaries is None or len(canaries.images) < FEWEST:
            found = len(canaries.images) if canaries else 0
            return _nothing(f"{FEWEST} canaries are needed, there are {found} (pretrain.canaries)")
        groups = {"epsilon_training": np.ones(len(canaries.images), dtype=bool)}
        tested_N, included_N = canaries.tested_N, canaries.included_N
        withdrawn = bool((canaries.forgotten_N == (tested_N & included_N))[tested_N].all())
        if withdrawn and tested_N.sum() >= FEWEST:
            groups = {self.measure: tested_N, **groups}
        measures: dict[str, dict[str, Draws]] = {}
        right: dict[str, dict[str, int]] = {}
        for name, model in inputs.models.items():

            def loss(
                _: slice, images_BCHW: Tensor, visible_BHW: Tensor, generator: torch.Generator, model: Any = model
            ) -> Tensor:
                found: Tensor = model.training_loss(images_BCHW, visible_BHW, generator=generator).float().cpu()
                return found

            loss_N, _ = averaged(inputs, canaries.images, loss, advance, self.name, "loss", masks=True)
            right[name] = {key: num_right(loss_N[group_N], included_N[group_N]) for key, group_N in groups.items()}
            measures[name] = {
                key: Draws(epsilon_at_least(right[name][key], int(group_N.sum())), None)
                for key, group_N in groups.items()
            }
        return Attacked(
            measures=measures,
            num_images=int(next(iter(groups.values())).sum()),
            status=_status(measures[inputs.original], groups, self.measure),
            facts={
                "num_canaries": len(canaries.images),
                "num_canaries_included": int(included_N.sum()),
                "num_canaries_tested": int(tested_N.sum()),
                "num_canaries_withdrawn": int((tested_N & canaries.forgotten_N).sum()),
                "delta": DELTA,
                "right_guesses": right,
            },
        )


def _status(original: dict[str, Draws], groups: dict[str, Any], measure: str) -> tuple[str, str]:
    if measure not in groups:
        return "n/a", (
            f"{FEWEST} tested canaries are needed, whose included ones a request has withdrawn"
            " (`i2i-unlearn data canaries`); epsilon_training is shown alone"
        )
    if original[measure].value > 0:
        return "measured", f"the original gives the canaries away: {measure} is at least {original[measure].value:.3g}"
    return "blind", "the original does not give the canaries away, so finding nothing in another model means nothing"


def _nothing(why: str) -> Attacked:
    return Attacked(measures={}, num_images=0, status=("n/a", why))


AUDIT = CanaryAudit()
