"""How audits train an attacker: by the product's own loop, on the attacker's images, with nothing stored."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from i2i_unlearn.method.objectives.base import Objective
from i2i_unlearn.support.errors import Diverged, UserError
from i2i_unlearn.training.engine import Batches, Schedule, train

_MOST_WARMUP = 10


def fit(
    student: Any,
    objective: Objective,
    batches: Batches,
    *,
    audit: str,
    num_steps: int,
    learning_rate: float,
    seed: int,
    after_step: Callable[[int], None],
) -> None:
    """Train `student` in place; `after_step(number of steps made)` after each.

    Raises:
        UserError: the loss is not finite; names the audit.
    """
    schedule = Schedule(
        num_steps=num_steps,
        learning_rate=learning_rate,
        weight_decay=0.0,
        warmup_steps=min(_MOST_WARMUP, num_steps // 5),
        clip_norm=1.0,
        precision="fp32",
        seed=seed,
    )
    try:
        with torch.enable_grad():
            train(student, objective, batches, None, schedule, _Nowhere(), _Watch(after_step))
    except Diverged as error:
        found = str(error).partition(";")[0]
        raise UserError(
            f"audit {audit}: the attacker's training diverged ({found}); check the models' weights,"
            f" or leave {audit} out of evaluate.audits.run"
        ) from None


class _Nowhere:
    """Meets engine.Store: an audit starts again rather than resuming."""

    def load(self) -> None:
        return None

    def save(self, checkpoint: Any) -> None:
        return None


class _Watch:
    """Meets engine.Observer."""

    def __init__(self, after_step: Callable[[int], None]) -> None:
        self._after_step = after_step
        self._done = 0

    def begin(self, done: int, seconds: float) -> None:
        self._done = done

    def step(self, total: float) -> None:
        self._done += 1
        self._after_step(self._done)

    def row(self, row: Mapping[str, float]) -> None:
        return None
