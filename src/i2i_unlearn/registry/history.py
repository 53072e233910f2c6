"""What the promotion record says, in the order in which it happened.

A move of the alias is written twice: before it, with everything that was known (`"step": "intent"`), and after it
(`"event": "done"`, `of` = the intent's id). If a process ended between the two, the next run looks where the alias is
and writes `done` or `void` (alias_moves.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Move:
    """The alias champion went from one version to another."""

    record: Record

    @property
    def version(self) -> str:
        """Number of the version that became champion."""
        return str(self.record["version"])

    @property
    def replaced(self) -> str:
        """Number of the one before it."""
        return str(self.record["replaced_version"])

    @property
    def requests(self) -> list[str]:
        """Ids of all requests that the version has forgotten."""
        tags = ",".join((self.record["requests"], self.record["erased"]))
        return [id_ for id_ in tags.split(",") if id_]

    def in_words(self) -> str:
        """Promoted by Ada at 2026-01-01T10:00:00+00:00."""
        verb = {"rollback": "rolled back to", "restore": "restored"}.get(self.record["event"], "promoted")
        by = self.record.get("by") or "an unnamed person"
        return f"{verb} by {by} at {self.record['time']}"


def moves(records: Sequence[Record], model_name: str) -> list[Move]:
    """All moves that took place, oldest first."""
    ends = _ends(records)
    return [Move(record) for record in _intents(records, model_name) if _event(ends, record) == "done"]


def open_intent(records: Sequence[Record], model_name: str) -> Record | None:
    """The newest intent of which the record does not say how it ended."""
    ends = _ends(records)
    return next((intent for intent in reversed(_intents(records, model_name)) if intent["id"] not in ends), None)


def last_champion(records: Sequence[Record], model_name: str) -> Move | None:
    """The move that made the present champion, according to the record."""
    return next(iter(reversed(moves(records, model_name))), None)


def before(records: Sequence[Record], model_name: str, version: str) -> str | None:
    """Number of the version that was champion before `version` was last promoted, or None."""
    for move in reversed(moves(records, model_name)):
        if move.version == version and move.record["event"] == "promote":
            return move.replaced or None
    return None


def were_champion(records: Sequence[Record], model_name: str) -> set[str]:
    """Numbers of all versions that were ever champion, according to the record."""
    found = moves(records, model_name)
    return {number for move in found for number in (move.version, move.replaced) if number}


def outcomes(records: Sequence[Record]) -> list[tuple[Record, str]]:
    """Every promotion and rollback, oldest first, and how it ended: done, void or open, with what is special."""
    ends = _ends(records)
    found = []
    for record in _intents(records):
        special = (
            ("undecided accepted", record.get("accepted_undecided")),
            ("forced", record.get("forced")),
            ("found later", ends.get(record["id"], {}).get("repaired")),
        )
        found.append((record, ", ".join([_event(ends, record), *(word for word, holds in special if holds)])))
    return found


def _intents(records: Sequence[Record], model_name: str | None = None) -> list[Record]:
    begun = [record for record in records if record["event"] in ("promote", "rollback", "restore")]
    return [record for record in begun if model_name in (None, record["model_name"])]


def _ends(records: Sequence[Record]) -> dict[str, Record]:
    """What ended each move, by the intent's id."""
    return {record["of"]: record for record in records if record["event"] in ("done", "void")}


def _event(ends: Mapping[str, Record], intent: Record) -> str:
    return str(ends.get(intent["id"], {"event": "open"})["event"])
