"""Commands `registry ledger verify` and `registry ledger show`."""

from pathlib import Path
from typing import Annotated

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.output import print_json

app = typer.Typer(help="The promotion ledger: every change of the champion.", no_args_is_help=True)

LedgerFile = Annotated[Path | None, typer.Option(help="Promotion ledger; default: promote.ledger of params.yaml.")]


@app.command()
def verify(
    head: Annotated[
        str, typer.Option(help="sha256 that an earlier `verify` printed: no line up to that one may be missing.")
    ] = "",
    ledger: LedgerFile = None,
    params: options.Params = options.PARAMS,
) -> None:
    """Check that no line was changed, removed or inserted.

    Prints the newest line's digest. If the check fails, it names the line; exit code 1.

    Example: i2i-unlearn registry ledger verify
    """
    from i2i_unlearn.support import ledger as record

    path = ledger or _configured(params)
    count, newest = record.verify(path, head)
    typer.echo(f"{path}: {count} lines, unbroken\nhead  {newest or 'none'}")


@app.command()
def show(json: options.Json = False, ledger: LedgerFile = None, params: options.Params = options.PARAMS) -> None:
    """Show every promotion and rollback and its outcome, oldest first.

    Example: i2i-unlearn registry ledger show
    """
    from i2i_unlearn.registry.history import outcomes
    from i2i_unlearn.support import ledger as record
    from i2i_unlearn.support.table import table

    records = record.read(ledger or _configured(params))
    if json:
        print_json(records)
        return
    head = ("time", "what", "model", "version", "replaced", "outcome", "by", "reason")
    before, after = ("time", "event", "model_name", "version", "replaced_version"), ("by", "reason")
    rows = [
        (*(line[key] for key in before), outcome, *(line[key] for key in after)) for line, outcome in outcomes(records)
    ]
    typer.echo(table(head, rows) if rows else "nothing has been promoted yet")


def _configured(params: Path) -> Path:
    from i2i_unlearn.config.sections import PromoteConfig, load_params

    return Path(PromoteConfig.from_params(load_params(params)).ledger)
