"""What a check of `doctor` says. A check is a function without arguments that returns lines and never raises."""

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
    """The lines of all checks, in order."""
    return [line for check in checks for line in check()]
