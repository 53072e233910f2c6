"""What a check of `doctor` says. A check is a function without arguments that returns lines."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclasses.dataclass(frozen=True)
class Line:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""


Check = Callable[[], Iterable[Line]]


def look(checks: Iterable[Check]) -> list[Line]:
    """The lines of all checks, in order. A check that breaks is a line, too: the others still count."""
    lines: list[Line] = []
    for check in checks:
        try:
            lines.extend(check())
        except Exception as error:  # what a broken machine does to a library cannot be listed
            words = " ".join(str(error).split())[:300]
            lines.append(Line(_name(check), "fail", f"{type(error).__name__}: {words}", "a defect: please report it"))
    return lines


def _name(check: Check) -> str:
    return getattr(check, "__qualname__", "check").partition(".")[0].replace("_", " ")
