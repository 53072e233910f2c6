"""Where each forget request stands and how many days are left.

Nothing of it is written into a request's file: states follow from params.yaml, the registry and the promotion record.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from i2i_unlearn.config.sections import SplitConfig
from i2i_unlearn.data.request import ForgetRequest, one_month_after
from i2i_unlearn.registry.registry_facts import RegistryFacts

State = Literal["open", "unlearned", "gated", "promoted", "expired", "unknown"]


@dataclass(frozen=True)
class Standing:
    """A request and its state.

    open       no registered version has forgotten it
    unlearned  one has, but none that passed the gate
    gated      one that passed the gate has
    promoted   the champion has, or split.erased of params.yaml names it: done
    expired    open, and its last day is past
    unknown    the registry could not be asked
    """

    id: str
    received: datetime.date
    due: datetime.date
    """Last day, with the days of pauses."""
    extended: bool
    """Later than one month after receipt, pauses apart."""
    paused: bool
    """The clock stands still today."""
    paused_days: int
    days_left: int
    """Until `due`; negative = days past it."""
    state: State
    active: bool
    """split.requests names it: the next run forgets it."""
    overdue: bool
    """Past due and not promoted."""


def standings(
    requests: Mapping[str, ForgetRequest], config: SplitConfig, known: RegistryFacts, today: datetime.date
) -> list[Standing]:
    """Requests that are not promoted first, the most urgent on top: overdue ones come first of all."""
    found = [_standing(request, config, known, today) for request in requests.values()]
    return sorted(found, key=lambda one: (one.state == "promoted", one.due, one.id))


def _standing(request: ForgetRequest, config: SplitConfig, known: RegistryFacts, today: datetime.date) -> Standing:
    due = request.last_day(today)
    late = today > due
    state = _state(request.id, config, known, late)
    return Standing(
        id=request.id,
        received=request.received,
        due=due,
        extended=request.due > one_month_after(request.received),
        paused=request.is_paused(today),
        paused_days=request.paused_days(today),
        days_left=(due - today).days,
        state=state,
        active=request.id in config.requests,
        overdue=late and state != "promoted",
    )


def _state(id_: str, config: SplitConfig, known: RegistryFacts, late: bool) -> State:
    if id_ in config.erased or id_ in known.promoted:
        return "promoted"
    if known.unreachable:
        return "unknown"
    if id_ in known.gated:
        return "gated"
    if id_ in known.unlearned:
        return "unlearned"
    return "expired" if late else "open"
