"""What a cell is and where it is kept.

    key = sha256(kind, content, code, keys of the inputs)      content: settings and digests of data; code: code_digest

A cell is done when its cell.json is there; that is written last.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from i2i_unlearn.support.files import read_json, write_json


@dataclass(frozen=True, eq=False)
class Cell:
    """Something to compute once."""

    kind: str
    """split | teacher | reference | unlearn | score"""
    label: str
    """For people; no part of the key."""
    content: Mapping[str, Any]
    """All that decides it, beside code and inputs; JSON."""
    code: str
    inputs: Mapping[str, "Cell"] = field(default_factory=dict)
    family: str = ""
    """Whose library is imported before the clock runs; no part of the key."""


class Store:
    """The folder of finished cells."""

    def __init__(self, folder: str | Path, *, accept_older_code: bool = False) -> None:
        """With `accept_older_code`, a cell that other code made counts as done where all that it knew is the same."""
        self.folder = Path(folder)
        self.accept_older_code = accept_older_code
        self.accepted: set[str] = set()
        """Keys of cells in use that other code made."""
        self._keys: dict[Cell, str] = {}

    def key(self, cell: Cell) -> str:
        """The key that the cell has, or an older one under which it is already there."""
        if cell not in self._keys:
            inputs = {name: self.key(other) for name, other in cell.inputs.items()}
            own = _digest({"kind": cell.kind, "content": cell.content, "code": cell.code, "inputs": inputs})
            older = None if self._is_there(cell.kind, own) else self._older(cell, inputs)
            if older:
                self.accepted.add(older)
            self._keys[cell] = older or own
        return self._keys[cell]

    def path(self, cell: Cell) -> Path:
        """Where the cell's files lie."""
        return self.folder / cell.kind / self.key(cell)

    def is_done(self, cell: Cell) -> bool:
        return (self.path(cell) / "cell.json").is_file()

    def facts(self, cell: Cell) -> dict[str, Any]:
        """What was noted when the cell was finished."""
        facts: dict[str, Any] = read_json(self.path(cell) / "cell.json")["facts"]
        return facts

    def finish(self, cell: Cell, facts: Mapping[str, Any]) -> None:
        """Note that all files of the cell are written."""
        inputs = {name: self.key(other) for name, other in cell.inputs.items()}
        noted = {"kind": cell.kind, "label": cell.label, "content": cell.content, "code": cell.code, "inputs": inputs}
        write_json(self.path(cell) / "cell.json", {**noted, "facts": facts})

    def finished(self, kind: str) -> Iterator[dict[str, Any]]:
        """What was noted of every finished cell of a kind, oldest first."""
        paths = sorted((self.folder / kind).glob("*/cell.json"), key=lambda path: path.stat().st_mtime)
        return ({**read_json(path), "key": path.parent.name} for path in paths)

    def _is_there(self, kind: str, key: str) -> bool:
        return (self.folder / kind / key / "cell.json").is_file()

    def _older(self, cell: Cell, inputs: Mapping[str, str]) -> str | None:
        """The newest cell of other code that agrees in everything it knew: settings may have been added since."""
        if not self.accept_older_code:
            return None
        alike = [
            noted["key"]
            for noted in self.finished(cell.kind)
            if noted["inputs"] == inputs and _known_alike(noted["content"], cell.content)
        ]
        return alike[-1] if alike else None


def _known_alike(old: Any, new: Any) -> bool:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return all(key in new and _known_alike(value, new[key]) for key, value in old.items())
    return bool(json.loads(json.dumps(old)) == json.loads(json.dumps(new)))


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
