"""Commands `registry ledger verify` and `registry ledger show`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The promotion ledger: who became champion, when, by whom and why.", no_args_is_help=True)

LedgerFile = Annotated[Path | None, typer.Option(help="Promotion ledger; default: promote.ledger of params.yaml.")]
Params = Annotated[Path, typer.Option(help="File of parameters.")]
PARAMS = Path("params.yaml")


@app.command()
def verify(
    head: Annotated[
        str, typer.Option(help="sha256 that an earlier `verify` told: no line up to that one may be gone.")
    ] = "",
    ledger: LedgerFile = None,
    params: Params = PARAMS,
) -> None:
    """Check that no line was changed, removed or put in; print the newest line's digest. Exit code 1 names the line.

    Example: i2i-unlearn registry ledger verify
    """
    from i2i_unlearn.registry import ledger as record

    path = ledger or _configured(params)
    count, newest = record.verify(path, head)
    typer.echo(f"{path}: {count} lines, unbroken\nhead  {newest or 'none'}")


@app.command()
def show(
    json_: Annotated[bool, typer.Option("--json", help="All lines with all they hold, as a JSON list.")] = False,
    ledger: LedgerFile = None,
    params: Params = PARAMS,
) -> None:
    """Show every promotion and rollback, oldest first, and whether it took place.

    Example: i2i-unlearn registry ledger show
    """
    import json

    from i2i_unlearn.cli.table import table
    from i2i_unlearn.registry import ledger as record
    from i2i_unlearn.registry.history import outcomes

    records = record.read(ledger or _configured(params))
    if json_:
        typer.echo(json.dumps(records, indent=2))
        return
    head = ("time", "what", "model", "version", "replaced", "outcome", "by", "reason")
    rows = [
        (
            line["time"],
            line["event"],
            line["model_name"],
            line["version"],
            line["replaced_version"],
            outcome,
            line["by"],
            line["reason"],
        )
        for line, outcome in outcomes(records)
    ]
    typer.echo(table(head, rows) if rows else "nothing was promoted yet")


def _configured(params: Path) -> Path:
    from i2i_unlearn.config.sections import PromoteConfig, load_params

    return Path(PromoteConfig.from_params(load_params(params)).ledger)
