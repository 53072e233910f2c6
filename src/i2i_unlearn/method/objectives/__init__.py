"""Objectives of unlearning, by name. A new objective = a file, a line in `OBJECTIVES`, a test."""

from collections.abc import Callable

from i2i_unlearn.method.objectives.ascent_repair import AscentRepair
from i2i_unlearn.method.objectives.base import Objective, Settings
from i2i_unlearn.method.objectives.encoder_l2 import EncoderL2
from i2i_unlearn.method.objectives.epsilon_constraint import EpsilonConstraint
from i2i_unlearn.method.objectives.heldout_like import HeldoutLike
from i2i_unlearn.method.objectives.label_baselines import MaxLoss
from i2i_unlearn.method.objectives.noisy_label import NoisyLabel
from i2i_unlearn.method.objectives.random_encoder import RandomEncoder
from i2i_unlearn.method.objectives.retain_finetune import RetainFinetune
from i2i_unlearn.method.objectives.retain_label import RetainLabel
from i2i_unlearn.method.objectives.surrogate_difference import SurrogateDifference
from i2i_unlearn.support.errors import UserError

OBJECTIVES: dict[str, Callable[[Settings], Objective]] = {
    "encoder_l2": EncoderL2,
    "max_loss": MaxLoss,
    "noisy_label": NoisyLabel,
    "retain_label": RetainLabel,
    "random_encoder": RandomEncoder,
    "retain_finetune": RetainFinetune,
    "epsilon_constraint": EpsilonConstraint,
    "ascent_repair": AscentRepair,
    "heldout_like": HeldoutLike,
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
