"""Names of the columns in a foreign table, and what is told of the others."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i_unlearn.data.importers.cells import fields_in
from i2i_unlearn.support.errors import UserError

_LIKELY = {
    "label": re.compile(r"label|class|categor|breed|species|tag|target|concept|caption", re.IGNORECASE),
    "source_split": re.compile(r"^(split|subset|partition|set|usage)$", re.IGNORECASE),
    "subject": re.compile(r"person|subject|identity|user|owner|patient|speaker|celeb|author|artist|who", re.IGNORECASE),
}


@dataclass(frozen=True)
class Columns:
    """Names of the columns; a field of a struct is named with a dot, objects.category."""

    image: str = "image"
    sample_id: str = "sample_id"
    label: str = "label"
    subject: str = "subject"
    source_split: str = "source_split"

    def named(self) -> str:
        """The first column that the user named; empty if there is none."""
        return next((theirs for ours, theirs in vars(self).items() if theirs != ours), "")

    def check(self, path: Path, found: Sequence[str], rows: Iterable[Mapping[str, Any]], *, needs_image: bool) -> None:
        """Columns that the user named must be there, and fields of structs in one of `rows`.

        Raises:
            UserError: one is not.
        """
        for ours, theirs in vars(self).items():
            asked_for = theirs != ours if ours != "image" or not needs_image else True
            if not asked_for or theirs in found:
                continue
            head, is_field, _ = theirs.partition(".")
            fields = dict.fromkeys(name for row in rows for name in fields_in(row)) if is_field else {}
            if theirs not in fields:
                there = [*found, *(name for name in fields if name.startswith(f"{head}."))]
                raise UserError(
                    f"{path}: has no column {theirs!r}; columns found: {', '.join(there)}; give the right one with"
                    f" {option_of(ours)}"
                )

    def unused(self, name: str, found: Sequence[str], used: Sequence[str] = ()) -> list[str]:
        """A line for the columns that are not used; those that look like labels or persons with the option to use."""
        ours = {*used, *vars(self).values(), *(theirs.partition(".")[0] for theirs in vars(self).values())}
        left = [column for column in found if column not in ours]
        lines = []
        for what, pattern in _LIKELY.items():
            likely = [column for column in left if pattern.search(column)]
            if likely and getattr(self, what).partition(".")[0] not in found:
                options = ", ".join(f"{option_of(what)} {column}" for column in likely)
                lines.append(f"{name} has no column {getattr(self, what)!r}; give {options} if that is meant")
        return [*lines, f"not used: columns {', '.join(left)} of {name}"] if left else lines


def option_of(column: str) -> str:
    """The command line's option for a field of `Columns`."""
    return f"--{column.removeprefix('sample_').removeprefix('source_')}-column"
