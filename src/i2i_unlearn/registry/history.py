"""What the promotion record says, in the order in which it happened.

A move of the alias is written twice: before it, with all that was known (`"step": "intent"`), and after it
(`"event": "done"`, `of` the intent's id). Where a process ended between the two, whoever comes next looks where the
alias is and writes `done` or `void` (moves.py). Lines of schema version 1 are done by themselves.
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
        verb = "rolled back to" if self.record["event"] == "rollback" else "promoted"
        by = self.record.get("by") or "nobody named"
        return f"{verb} by {by} at {self.record['time']}"


def moves(records: Sequence[Record], model_name: str) -> list[Move]:
    """All moves that took place, oldest first."""
    done = {record["of"] for record in records if record["event"] == "done"}
    return [
        Move(record) for record in _begun(records, model_name) if record["schema_version"] == 1 or record["id"] in done
    ]


def open_intent(records: Sequence[Record], model_name: str) -> Record | None:
    """The newest intent of which nothing says how it ended."""
    ended = {record["of"] for record in records if record["event"] in ("done", "void")}
    for record in reversed(_begun(records, model_name)):
        if record["schema_version"] > 1 and record["id"] not in ended:
            return record
    return None


def last_champion(records: Sequence[Record], model_name: str) -> Move | None:
    """The move that made the present champion, by the record."""
    return next(iter(reversed(moves(records, model_name))), None)


def before(records: Sequence[Record], model_name: str, version: str) -> str | None:
    """Number of the version that was champion before `version` was promoted for the last time, or None."""
    for move in reversed(moves(records, model_name)):
        if move.version == version and move.record["event"] == "promote":
            return move.replaced or None
    return None


def were_champion(records: Sequence[Record], model_name: str) -> set[str]:
    """Numbers of all versions that were champion at some time, by the record."""
    found = moves(records, model_name)
    return {number for move in found for number in (move.version, move.replaced) if number}


def _begun(records: Sequence[Record], model_name: str) -> list[Record]:
    return [
        record
        for record in records
        if record["event"] in ("promote", "rollback") and record["model_name"] == model_name
    ]


def outcomes(records: Sequence[Record]) -> list[tuple[Record, str]]:
    """Every promotion and rollback, oldest first, and how it ended: done, void or open, with what is special."""
    ends = {record["of"]: record for record in records if record["event"] in ("done", "void")}
    found = []
    for record in records:
        if record["event"] in ("promote", "rollback"):
            end = ends.get(record.get("id", ""))
            outcome = "done" if record["schema_version"] == 1 else end["event"] if end else "open"
            special = [
                word
                for word, holds in (
                    ("undecided accepted", record.get("accepted_undecided")),
                    ("forced", record.get("forced")),
                    ("found later", end and end["repaired"]),
                )
                if holds
            ]
            found.append((record, ", ".join([outcome, *special])))
    return found
