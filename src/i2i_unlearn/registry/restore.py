"""`registry restore`: give the alias `champion` back to the version that the promotion ledger says is champion."""

from typing import Any

from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig
from i2i_unlearn.registry import alias_moves, history, project_registry, refusals, tracking
from i2i_unlearn.registry.actor import find_actor
from i2i_unlearn.registry.notify import notify, refusals_notified
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import GateRefused, UserError

Facts = dict[str, float | str]


def run(config: PromoteConfig, register_config: RegisterConfig, *, by: str = "", reason: str = "") -> Facts:
    """Undo what somebody did to the alias by hand; the promotion ledger gets a line.

    Returns:
        model_name, version, alias (champion), outcome (restored | already champion), replaced (number of the version
        that had the alias, or empty) and message.

    Raises:
        GateRefused: the version's bytes are not what was promoted.
        UserError: name or reason is missing, nothing was promoted, this is another registry, or MLflow or the ledger
            cannot be read.
    """
    if not (by.strip() and reason.strip()):
        raise UserError("restoring the champion needs a name and a reason; add --by NAME --reason TEXT")
    name, actor = register_config.model_name, find_actor(by)
    about: dict[str, Any] = {"model_name": name, "version": "", **actor.facts(), "reason": reason}
    connected = project_registry.connect(config.ledger, name)
    with refusals_notified(config, about, dry_run=False), connected as server:
        alias_moves.settle(config.ledger, server, name)
        last = history.last_champion(ledger.read(config.ledger), name)
        if last is None:
            raise UserError(f"{config.ledger}: nothing was promoted; run `i2i-unlearn register --original`")
        champion, chosen = server.at_alias(name, tracking.CHAMPION), server.version(name, last.version)
        about["version"] = chosen.number
        if champion and champion.number == chosen.number:
            return alias_moves.facts(chosen, "already champion", "", "is already champion; nothing was changed")
        if against := refusals.of_restore(server, chosen):
            raise GateRefused(*against)
        number = champion.number if champion else ""
        by_hand = {"instead_of": number, "replaced_version": "", "replaced_sha256": ""}  # was never promoted so
        entry = {"event": "restore", **by_hand, **actor.facts(), "reason": reason}
        alias_moves.move(config.ledger, server, chosen, champion, entry)
    words = f"is champion again, {last.in_words()}; " + (f"not version {number}" if number else "the alias was missing")
    facts = alias_moves.facts(chosen, "restored", number, words)
    notify(config, "restored", {**about, "replaced": number, "message": facts["message"]})
    return facts
