"""Command `keys create`: a key pair that signs evidence."""

from pathlib import Path
from typing import Annotated

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.next_step import next_step
from i2i_unlearn.cli.output import show

app = typer.Typer(help="Key pairs that sign evidence.", no_args_is_help=True)

PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="File that holds the key's passphrase; default: $I2I_UNLEARN_KEY_PASSPHRASE, then none."),
]


@app.callback()
def keys() -> None:
    """Key pairs that sign evidence."""


@app.command()
def create(
    out: Annotated[Path, typer.Option(help="Folder for private.pem (mode 600) and public.pem.")] = Path(
        ".secrets/evidence"
    ),
    algorithm: Annotated[
        str, typer.Option(help="ecdsa (signs weights in the OpenSSF format, too) or ed25519.")
    ] = "ecdsa",
    passphrase_file: PassphraseFile = None,
    json: options.Json = False,
) -> None:
    """Make a key pair; never overwrites one. What a key signed can still be checked after the key is lost.

    Example: i2i-unlearn keys create --out .secrets/evidence --algorithm ecdsa
    """
    from i2i_unlearn.evidence.keys import create_keys, read_passphrase

    facts = create_keys(out, algorithm, read_passphrase(passphrase_file))
    show(
        facts,
        json,
        f"Made a key pair ({facts['algorithm']}), key_id {facts['key_id']}",
        f"Private key: {facts['private_key']} (protected {facts['protected']})",
        f"Public key: {facts['public_key']}",
        next_step("keys create", private_key=facts["private_key"]),
    )
