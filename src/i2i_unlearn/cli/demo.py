"""Command `demo`: the whole job on the embedded digits, from data to promotion. `make demo` calls it."""

import os
from pathlib import Path

import typer

from i2i_unlearn.cli.forget import last_screen
from i2i_unlearn.support.errors import UserError

app = typer.Typer()

PIPELINE = Path("dvc.yaml")
KEY_FILE = Path(".secrets/hmac.key")
DATA = (Path("data/images/digits.parquet"), Path("data/forget/digit-3.yaml"))


@app.command()
def demo() -> None:
    """Run the whole job on the embedded digits and show the result. It is `forget digit-3`, then `registry promote`.

    Example: i2i-unlearn demo
    """
    from i2i_unlearn.requests.carry_out import carry_out

    if not PIPELINE.is_file():
        raise UserError(f"{PIPELINE}: no such file; make the demo's project first: i2i-unlearn init digits --demo")
    if not all(path.exists() for path in DATA):  # DVC notices those that have changed; importing pandas takes a second
        from i2i_unlearn.data.importers.embedded import write_embedded

        write_embedded("digits", "data")
    if not KEY_FILE.exists() and "I2I_UNLEARN_HMAC_KEY_FILE" not in os.environ:
        from i2i_unlearn.data.split.codes import create_key

        create_key(str(KEY_FILE))
    done = carry_out(promote=True)
    alias = "no alias" if done.refused else f"alias {done.promotion['alias']}"
    version = f"MLflow: {done.version['model_name']} version {done.version['version']}, {alias}"
    lines = [version, *(f"Not promoted: {reason}" for reason in done.refused)]
    typer.echo("\n".join(("", *last_screen(Path.cwd(), lines))))
    if not done.is_new:
        typer.echo("Nothing to do: everything was up to date.")
