"""What a check of `doctor` says. A check is a function without arguments that returns lines."""

import dataclasses
import re
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
    """What to do; empty if nothing."""


Check = Callable[[], Iterable[Line]]


def look(checks: Iterable[Check]) -> list[Line]:
    """The lines of all checks, in order. A check that breaks becomes a line; the others still run."""
    lines: list[Line] = []
    for check in checks:
        try:
            lines.extend(check())
        except Exception as error:  # what a broken machine does to a library cannot be listed
            words = " ".join(str(error).split())[:300]
            lines.append(Line(_name(check), "fail", f"{type(error).__name__}: {words}", "a defect: please report it"))
    return lines


def numbers(version: str) -> tuple[int, ...]:
    """The two or three numbers that a version begins with; none if it begins otherwise."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part) for part in found.groups() if part) if found else ()


def _name(check: Check) -> str:
    return getattr(check, "__qualname__", "check").partition(".")[0].replace("_", " ")
