"""What a command shows: a few lines for people, or every fact as JSON."""

from collections.abc import Mapping
from typing import Any

import typer


def show(facts: Mapping[str, Any], json: bool, *lines: str) -> None:
    """Print `lines`, or with `json` all the facts that a stage returned; empty lines are left out."""
    if json:
        print_json(dict(facts))
        return
    for line in filter(None, lines):
        typer.echo(line)


def show_table(facts: Mapping[str, Any], json: bool, *lines: str) -> None:
    """Print the facts, one per line, and `lines` below; digests only with `json`."""
    shown = {key: value for key, value in facts.items() if not key.endswith("sha256")}
    width = max(map(len, shown))
    show(facts, json, *(f"{key:{width}}  {value}".rstrip() for key, value in shown.items()), *lines)


def print_json(content: Any) -> None:
    """Print JSON; dates and times in ISO format."""
    from json import dumps

    typer.echo(dumps(content, indent=2, ensure_ascii=False, default=str))
