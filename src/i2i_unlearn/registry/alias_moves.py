"""Move the alias champion: one at a time, written down before and after.

The promotion record is locked while the alias moves, so of all who share one record exactly one wins. MLflow itself
has no compare-and-swap: whoever moves the alias with another record, or by hand, is seen only if they did it before the
last look, or right after it.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from i2i_unlearn.registry import history, ledger, tracking
from i2i_unlearn.support.errors import GateRefused


def settle(path: str | Path, server: tracking.Server, model_name: str) -> str:
    """Write down how an interrupted move ended, if there is one; return that in words, or nothing.

    Raises:
        UserError: the record is damaged or cannot be written.
    """
    if not Path(path).exists():
        return ""
    with ledger.opened(path) as record:
        return _settle(record, server, model_name)


def _settle(record: ledger.Ledger, server: tracking.Server, model_name: str) -> str:
    intent = history.open_intent(record.records(), model_name)
    if intent is None:
        return ""
    holder = server.at_alias(model_name, tracking.CHAMPION)
    found = holder.number if holder else ""
    done = found == intent["version"]
    _end(record, intent, "done" if done else "void", found, repaired=True)
    outcome = "took place" if done else f"did not take place (champion is version {found or 'none'})"
    return f"the move to version {intent['version']} that was interrupted at {intent['time']} {outcome}"


def move(
    path: str | Path,
    server: tracking.Server,
    chosen: tracking.Version,
    seen: tracking.Version | None,
    entry: Mapping[str, Any],
) -> None:
    """Make `chosen` champion in place of `seen`; `entry` is what the record will hold.

    Raises:
        GateRefused: somebody else was faster; says who.
        UserError: the record is damaged or cannot be written, or MLflow cannot be reached. What was begun is settled
            by the next run.
    """
    with ledger.opened(path) as record:
        _settle(record, server, chosen.model_name)
        _check_champion_is_still(record, server, chosen, seen)
        intent = record.append({**entry, "step": "intent", "id": uuid.uuid4().hex})
        server.set_alias(chosen, tracking.CHAMPION)
        now = server.at_alias(chosen.model_name, tracking.CHAMPION)
        number = now.number if now else ""
        _end(record, intent, "done" if number == chosen.number else "void", number, repaired=False)
        if number != chosen.number:
            raise GateRefused(_lost(chosen, number, "moved at the same moment, with another record or by hand"))


def _end(record: ledger.Ledger, intent: Mapping[str, Any], event: str, found: str, *, repaired: bool) -> None:
    about = {"model_name": intent["model_name"], "version": intent["version"], "of": intent["id"]}
    record.append({"event": event, **about, "found_version": found, "repaired": repaired})


def _check_champion_is_still(
    record: ledger.Ledger, server: tracking.Server, chosen: tracking.Version, seen: tracking.Version | None
) -> None:
    now = server.at_alias(chosen.model_name, tracking.CHAMPION)
    number, before = (version.number if version else "" for version in (now, seen))
    if number == before:
        return
    last = history.last_champion(record.records(), chosen.model_name)
    how = last.in_words() if last and last.version == number else "which the promotion record does not know"
    was = f"the champion was version {before} when the check began" if before else "nobody was champion then"
    raise GateRefused(_lost(chosen, number, f"{how}; {was}; unlearn from the champion of now"))


def _lost(chosen: tracking.Version, winner: str, how: str) -> str:
    whom = f"version {winner}" if winner else "somebody who took the alias away"
    return f"version {chosen.number} lost to {whom}: {how}"
