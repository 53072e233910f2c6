"""Objectives of unlearning, by name. A new objective = a file, a line in `OBJECTIVES`, a test."""

from collections.abc import Callable

from i2i_unlearn.errors import UserError
from i2i_unlearn.objectives.base import Objective, Settings
from i2i_unlearn.objectives.encoder_l2 import EncoderL2

OBJECTIVES: dict[str, Callable[[Settings], Objective]] = {
    "encoder_l2": EncoderL2,
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
