"""What --help says an option takes: TEXT, PATH, NUMBER or YYYY-MM-DD, not the type that the program has for it."""

from functools import partial

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

_KINDS = {
    "str": "TEXT",
    "path": "PATH",
    "Path": "PATH",
    "int": "NUMBER",
    "float": "NUMBER",
    "int range": "NUMBER",
    "float range": "NUMBER",
    "%Y-%m-%d": "YYYY-MM-DD",
}


def say_kinds(command: TyperCommand | TyperGroup) -> None:
    """Have the help of a command, or of all commands of a group, say it so."""
    for part in getattr(command, "commands", {}).values():
        say_kinds(part)
    for parameter in command.params:
        if isinstance(parameter, TyperOption | TyperArgument):
            # Its metavar would also take the place of its name in error messages.
            parameter.display_type_rich = partial(_kind, parameter)  # type: ignore[method-assign]


def _kind(parameter: TyperOption | TyperArgument, ctx: typer.Context) -> str | None:
    """None where the name says enough."""
    label = parameter.display_type(ctx).removeprefix("<").removesuffix(">")
    one = label.removeprefix("list[").removesuffix("]")
    kind = _KINDS.get(one, one)
    if isinstance(parameter, TyperArgument):
        return None if kind == "TEXT" else kind
    return parameter.metavar or kind
