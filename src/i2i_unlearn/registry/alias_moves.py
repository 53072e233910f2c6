"""Move the alias champion: one move at a time, written down before and after.

The promotion record is locked while the alias moves, so exactly one of all who share a record wins. MLflow itself has
no compare-and-swap: somebody who moves the alias with another record, or by hand, is noticed only if they did it before
the last look, or right after it.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from i2i_unlearn.registry import history, project_registry, refusals, tracking
from i2i_unlearn.support import ledger
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
    found = server.number_at_alias(model_name, tracking.CHAMPION)
    done = found == intent["version"]
    if done:
        _mark(server, server.version(model_name, found), intent["time"])
    _end(record, intent, found, repaired=True)
    outcome = "took place" if done else f"did not take place (champion is version {found or 'none'})"
    return f"the move to version {intent['version']} that was interrupted at {intent['time']} {outcome}"


def move(
    path: str | Path,
    server: tracking.Server,
    chosen: tracking.Version,
    seen: tracking.Version | None,
    entry: Mapping[str, Any],
) -> None:
    """Make `chosen` champion in place of `seen`; the record gets both versions and what `entry` adds: event, who, why.

    Raises:
        GateRefused: somebody else was faster; says who.
        UserError: the record is damaged or cannot be written, or MLflow cannot be reached. The next run settles what
            was begun.
    """
    with ledger.opened(path) as record:
        _settle(record, server, chosen.model_name)
        now = server.number_at_alias(chosen.model_name, tracking.CHAMPION)
        before = seen.number if seen else ""
        if now != before:
            last = history.last_champion(record.records(), chosen.model_name)
            raise GateRefused(refusals.overtaken_before(chosen, now, before, last))
        about = {**_versions(chosen, seen), "registry": project_registry.address(server.uri)}
        intent = record.append({**about, **entry, "step": "intent", "id": uuid.uuid4().hex})
        server.set_alias(chosen, tracking.CHAMPION)
        _mark(server, chosen, intent["time"])
        now = server.number_at_alias(chosen.model_name, tracking.CHAMPION)
        _end(record, intent, now, repaired=False)
        if now != chosen.number:
            raise GateRefused(refusals.overtaken_after(chosen, now))


def _mark(server: tracking.Server, chosen: tracking.Version, time: str) -> None:
    """Leave the time of its first promotion on the version: from then on its record is only added to."""
    if tracking.PROMOTED not in chosen.tags:
        server.tag(chosen, {tracking.PROMOTED: time})


def _versions(chosen: tracking.Version, seen: tracking.Version | None) -> dict[str, str]:
    return {
        "model_name": chosen.model_name,
        "version": chosen.number,
        "model_sha256": chosen.tags.get("model_sha256", ""),
        "replaced_version": seen.number if seen else "",
        "replaced_sha256": seen.tags.get("model_sha256", "") if seen else "",
        "requests": chosen.tags.get("requests", ""),
        "erased": chosen.tags.get("erased", ""),
    }


def facts(chosen: tracking.Version, outcome: str, replaced: str, words: str, **more: str) -> dict[str, float | str]:
    """What a promotion or a rollback returns; `words` say it, after the version's name."""
    about = {"model_name": chosen.model_name, "version": chosen.number, "alias": tracking.CHAMPION}
    message = f"{chosen.model_name} version {chosen.number} {words}"
    return {**about, "outcome": outcome, "replaced": replaced, **more, "message": message}


def _end(record: ledger.Ledger, intent: Mapping[str, Any], found: str, *, repaired: bool) -> None:
    event = "done" if found == intent["version"] else "void"
    about = {"model_name": intent["model_name"], "version": intent["version"], "of": intent["id"]}
    record.append({"event": event, **about, "found_version": found, "repaired": repaired})
