"""Command `doctor`."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def doctor(
    in_container: Annotated[
        bool, typer.Option("--in-container", help="Check the container that this runs in, as the steps need it.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that what is needed is here: ok, warn or fail for each thing, and what to do. Exit code 1 on any fail.

    Example: i2i-unlearn doctor --json
    """
    from dataclasses import asdict
    from json import dumps

    from i2i_unlearn.doctor import EVERYWHERE, IN_CONTAINER, look

    lines = look(IN_CONTAINER if in_container else EVERYWHERE)
    if json:
        typer.echo(dumps([asdict(line) for line in lines], indent=2))
    else:
        width = max(len(line.name) for line in lines)
        for line in lines:
            typer.echo(f"{line.state:4}  {line.name:{width}}  {line.found}")
            if line.advice:
                typer.echo(f"{'':4}  {'':{width}}  -> {line.advice}")
    if any(line.state == "fail" for line in lines):
        raise typer.Exit(1)
