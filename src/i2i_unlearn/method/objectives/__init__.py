"""Objectives of unlearning, by name. A new objective = a file, a line in `OBJECTIVES`, a test."""

from collections.abc import Callable

from i2i_unlearn.method.objectives.ascent_repair import AscentRepair
from i2i_unlearn.method.objectives.base import Objective, Settings
from i2i_unlearn.method.objectives.encoder_l2 import encoder_l2
from i2i_unlearn.method.objectives.epsilon_constraint import EpsilonConstraint
from i2i_unlearn.method.objectives.heldout_like import heldout_like
from i2i_unlearn.method.objectives.label_baselines import max_loss, noisy_label, retain_label
from i2i_unlearn.method.objectives.random_encoder import random_encoder
from i2i_unlearn.method.objectives.retain_finetune import retain_finetune
from i2i_unlearn.method.objectives.surrogate_difference import SurrogateDifference
from i2i_unlearn.support.errors import UserError

OBJECTIVES: dict[str, Callable[[Settings], Objective]] = {
    "encoder_l2": encoder_l2,
    "max_loss": max_loss,
    "noisy_label": noisy_label,
    "retain_label": retain_label,
    "random_encoder": random_encoder,
    "retain_finetune": retain_finetune,
    "epsilon_constraint": EpsilonConstraint,
    "ascent_repair": AscentRepair,
    "heldout_like": heldout_like,
    "surrogate_difference": SurrogateDifference,
}
"""Name -> method object made from its settings."""


def make_objective(name: str, settings: Settings) -> Objective:
    """The objective called `name`.

    Raises:
        UserError: there is no such objective.
    """
    if name not in OBJECTIVES:
        raise UserError(f"unlearn.objective={name!r} is not known; choose one of: {', '.join(sorted(OBJECTIVES))}")
    return OBJECTIVES[name](settings)
