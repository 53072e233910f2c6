"""What a command shows: a few lines for people, or every fact as JSON."""

import time
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

import typer

P = ParamSpec("P")


def show(facts: Mapping[str, Any], json: bool, *lines: str) -> None:
    """Print `lines`, or with `json` all the facts that a stage returned; empty lines are left out."""
    if json:
        print_json(dict(facts))
        return
    for line in filter(None, lines):
        typer.echo(line)


def timed(stage: Callable[P, Mapping[str, Any]], *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
    """The facts that a stage returns, and the `seconds` that it took."""
    begin = time.monotonic()
    return {**stage(*args, **kwargs), "seconds": round(time.monotonic() - begin, 1)}


def print_json(content: Any) -> None:
    """Print JSON; dates and times in ISO format."""
    from json import dumps

    typer.echo(dumps(content, indent=2, ensure_ascii=False, default=str))
