"""How far each forget request is, when it is due, and who is champion.

None of this is written into a request's file: it follows from params.yaml, the registry and the promotion record.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from i2i_unlearn.config.sections import SplitConfig
from i2i_unlearn.data.request import ForgetRequest, one_month_after, read_request
from i2i_unlearn.registry import history, project_registry
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import UserError

if TYPE_CHECKING:
    from i2i_unlearn.data.filing import Champion

State = Literal["open", "not passed", "gated", "promoted", "expired", "unknown"]
OVERDUE, IN_TIME = "overdue", "in time"


# --- what the registry knows ---


@dataclass(frozen=True)
class RegistryFacts:
    """Ids of requests by how far they are; a request may be in several."""

    tried: frozenset[str] = frozenset()
    """Some registered version was made to forget them."""
    gated: frozenset[str] = frozenset()
    """Some of these passed the gate."""
    promoted: frozenset[str] = frozenset()
    """The champion has forgotten them."""
    unreachable: str = ""
    """Why the registry could not be asked; empty = it was."""


def find_champion(model_name: str, record: str | Path = "", requests: str | Path = "") -> "Champion | None":
    """The promoted version of `model_name`, or None.

    `record`: the promotion ledger, whose registry this must be. `requests`: folder of the requests, whose list of the
    forgotten gets the champion's images if the promotion did not see to it.

    Raises:
        UserError: MLflow cannot be reached, it is another registry, or the alias of what was promoted is lost.
    """
    if not (project_registry.is_named() or (record and ledger.read(record))):
        return None
    with project_registry.connect(record, model_name) as server:
        from i2i_unlearn.data.filing import Champion
        from i2i_unlearn.registry import forgotten, refusals, tracking

        version = server.at_alias(model_name, tracking.CHAMPION)
        if version is None:
            if lost := project_registry.lost_champion(server, record, model_name):
                raise UserError(refusals.no_champion(model_name, lost))
            return None
        listed = forgotten.note(server, version, requests) if requests else ""
    return Champion(version.number, version.tags.get("model_sha256", ""), tuple(version.requests()), listed)


def recorded_facts(model_name: str, record: str | Path, unreachable: str = "") -> RegistryFacts:
    """What the promotion record alone says: which requests the champion has forgotten.

    Raises:
        UserError: the record is damaged.
    """
    last = history.last_champion(ledger.read(record), model_name)
    return RegistryFacts(promoted=frozenset(last.requests if last else ()), unreachable=unreachable)


def registry_facts(model_name: str, record: str | Path) -> RegistryFacts:
    """Ask the registry; if it cannot be reached, the promotion record alone says what is in use.

    Raises:
        UserError: the registry cannot be reached, and the promotion record is damaged.
    """
    if not (project_registry.is_named() or ledger.read(record)):
        return RegistryFacts()
    try:
        return _ask(model_name, record)
    except UserError as error:
        return recorded_facts(model_name, record, unreachable=str(error))


def _ask(model_name: str, record: str | Path) -> RegistryFacts:
    with project_registry.connect(record, model_name) as server:
        from i2i_unlearn.registry import refusals, tracking

        champion = server.at_alias(model_name, tracking.CHAMPION)
        versions = server.versions(model_name)
        if champion is None and (lost := project_registry.lost_champion(server, record, model_name)):
            raise UserError(refusals.no_champion(model_name, lost))
    passed = [version for version in versions if version.tags.get("gate") == "pass"]
    return RegistryFacts(
        tried=frozenset(id_ for version in versions for id_ in version.requests()),
        gated=frozenset(id_ for version in passed for id_ in version.requests()),
        promoted=frozenset(champion.requests() if champion else ()),
    )


# --- how far each request is ---


@dataclass(frozen=True)
class Standing:
    """A request and its state.

    open        no registered version was made to forget it, or the registry was not asked
    not passed  one was, but none passed the gate
    gated       one has forgotten it and passed the gate
    promoted    the champion has, or split.erased of params.yaml names it: done
    expired     open, and its last day is past
    unknown     the registry could not be asked
    """

    id: str
    received: datetime.date
    due: datetime.date
    """Last day, with the days of pauses."""
    extended: bool
    """Later than one month after receipt, not counting pauses."""
    paused: bool
    """The clock is stopped today."""
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
    """Requests that are not promoted come first, the earliest last day on top."""
    found = [_standing(request, config, known, today) for request in requests.values()]
    return sorted(found, key=lambda one: (one.state == "promoted", one.due, one.id))


def _standing(request: ForgetRequest, config: SplitConfig, known: RegistryFacts, today: datetime.date) -> Standing:
    due = request.last_day(today)
    late = request.is_late(today)
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
    if id_ in known.tried:
        return "not passed"
    return "expired" if late else "open"


# --- the pipeline's step `deadline` ---


def deadlines(requests_folder: str | Path, requests: str, today: datetime.date | None = None) -> dict[str, float | str]:
    """When the requests with these ids (separated by commas) are due, seen from `today` (None = now, UTC).

    Returns:
        outcome (overdue | in time), overdue (ids), first_due, days_left (negative = days past it) and message.

    Raises:
        UserError: a request is missing or wrong, or none is named.
    """
    today = today or datetime.datetime.now(datetime.UTC).date()
    ids = [id_.strip() for id_ in requests.split(",") if id_.strip()]
    if not ids:
        raise UserError("no request is named; file one with `i2i-unlearn request add`")
    named = {id_: read_request(Path(requests_folder) / f"{id_}.yaml") for id_ in ids}
    overdue = [id_ for id_, request in named.items() if request.is_late(today)]
    first = min(request.last_day(today) for request in named.values())
    days = (first - today).days
    message = (
        f"OVERDUE: {', '.join(overdue)}; the first was due on {first}, {-days} days ago"
        if overdue
        else f"the first request is due on {first}, in {days} days"
    )
    return {
        "outcome": OVERDUE if overdue else IN_TIME,
        "overdue": ", ".join(overdue),
        "first_due": first.isoformat(),
        "days_left": days,
        "message": message,
    }
