"""`registry rollback`: give the alias `champion` back to a version that had it before.

What is refused: registry/refusals.py.
"""

from collections.abc import Sequence
from typing import Any

from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig
from i2i_unlearn.registry import alias_moves, history, project_registry, refusals, tracking
from i2i_unlearn.registry.actor import find_actor
from i2i_unlearn.registry.notify import notify, refusals_notified
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import GateRefused, UserError

FORCED = "rollback_forced"
"""Tag of a version that is champion again although it knows erased data: who, when and why."""

Facts = dict[str, float | str]


def run(
    config: PromoteConfig,
    register_config: RegisterConfig,
    *,
    version: str | None = None,
    by: str = "",
    reason: str = "",
    force: bool = False,
    dry_run: bool = False,
) -> Facts:
    """Make `version` champion again; None = the previous champion, according to the promotion record.

    `dry_run`: say what would happen; change nothing and notify nobody.

    Returns:
        model_name, version, alias (champion), outcome (rolled back | already champion | would be rolled back),
        replaced (number of the previous champion), knows_again (ids of requests, joined by commas) and message.

    Raises:
        GateRefused: the version may not be champion again, or another version became champion in the meantime.
        UserError: name or reason is missing, there is no such version or nothing to go back to, or MLflow or the record
            cannot be read.
    """
    if not (by.strip() and reason.strip()):
        raise UserError("a rollback needs a name and a reason; add --by NAME --reason TEXT")
    name, actor = register_config.model_name, find_actor(by)
    who = {**actor.facts(), "reason": reason}
    about: dict[str, Any] = {"model_name": name, "version": version or "", **who}
    connected = project_registry.connect(config.ledger, name)
    with refusals_notified(config, about, dry_run=dry_run), connected as server:
        if not dry_run:
            alias_moves.settle(config.ledger, server, name)
        records = ledger.read(config.ledger)
        champion = server.at_alias(name, tracking.CHAMPION)
        if champion is None:
            lost = project_registry.lost_champion(server, config.ledger, name)
            why = refusals.no_champion(name, lost) if lost else f"{name} has no champion, and nothing was promoted yet"
            raise UserError(f"{why}; there is nothing to roll back from")
        chosen = server.version(name, version or _previous(records, champion))
        about["version"] = chosen.number
        if chosen.number == champion.number:
            words = "is already champion; nothing was changed"
            return alias_moves.facts(chosen, "already champion", "", words, knows_again="")
        known = _knows_again(records, chosen, champion)
        if against := refusals.of_rollback(server, records, chosen, known, force=force):
            raise GateRefused(*against)
        warning = f"in place of version {champion.number}" + (f"; it knows {', '.join(known)} again" if known else "")
        again = {"knows_again": ",".join(known)}
        if dry_run:
            words = f"would become champion again {warning}; nothing was changed"
            return alias_moves.facts(chosen, "would be rolled back", champion.number, words, **again)
        entry = {"event": "rollback", "forced": bool(known), **again, **who}
        alias_moves.move(config.ledger, server, chosen, champion, entry)
        if known:
            said = f"{actor.name}: {reason} (knows again: {', '.join(known)})"
            earlier = f"{chosen.tags[FORCED]}; " if FORCED in chosen.tags else ""  # each is kept
            server.tag(chosen, {FORCED: (earlier + said)[: tracking.MOST_TAG]})
    facts = alias_moves.facts(chosen, "rolled back", champion.number, f"is champion again {warning}", **again)
    told = {"replaced": champion.number, "knows_again": known, "message": facts["message"]}
    notify(config, "rolled back", {**about, **told})
    return facts


def _previous(records: Sequence[history.Record], champion: tracking.Version) -> str:
    found = history.before(records, champion.model_name, champion.number)
    if found is None:
        raise UserError(
            f"the promotion record does not say which version of {champion.model_name} was champion before version "
            f"{champion.number}; name a version with --version N"
        )
    return found


def _knows_again(records: Sequence[history.Record], chosen: tracking.Version, champion: tracking.Version) -> list[str]:
    """Requests that the present champion, or the one of the record, has forgotten and `chosen` has not."""
    last = history.last_champion(records, chosen.model_name)
    forgotten = {*champion.requests(), *(last.requests if last else ())}  # they differ if somebody moved it by hand
    return sorted(forgotten - set(chosen.requests()))
