"""Where each forget request stands and how many days are left."""

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from i2i_unlearn.config import SplitConfig
from i2i_unlearn.data.requests import ForgetRequest

State = Literal["open", "active", "promoted", "erased"]


@dataclass(frozen=True)
class Standing:
    """A request and its state.

    open       filed, but split.requests of params.yaml does not name it
    active     named there: the next run forgets it
    promoted   named there, and the champion has forgotten it
    erased     in split.erased: fulfilled, and its images are never used again
    """

    id: str
    received: datetime.date
    due: datetime.date
    days_left: int
    """Until `due`; negative = days past it."""
    state: State
    overdue: bool
    """Past due and not yet fulfilled."""


def standings(
    requests: Mapping[str, ForgetRequest], config: SplitConfig, forgotten: Collection[str], today: datetime.date
) -> list[Standing]:
    """Unfulfilled requests first, the most urgent on top; `forgotten` are the champion's requests."""
    result = []
    for request in requests.values():
        state = _state(request.id, config, forgotten)
        days_left = (request.due - today).days
        overdue = days_left < 0 and state in ("open", "active")
        result.append(Standing(request.id, request.received, request.due, days_left, state, overdue))
    return sorted(result, key=lambda one: (one.state in ("promoted", "erased"), one.due, one.id))


def _state(id_: str, config: SplitConfig, forgotten: Collection[str]) -> State:
    if id_ in config.erased:
        return "erased"
    if id_ in forgotten:
        return "promoted"
    return "active" if id_ in config.requests else "open"
