"""Command `demo`: the main job on the embedded digits, from data to promotion, in one go. `make demo` calls it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer

app = typer.Typer()

KEY_FILE = Path(".secrets/hmac.key")
EVALUATION = Path("artifacts/evaluation")


@app.command()
def demo() -> None:
    """Run the main job on the embedded digits: dvc repro, register, promote; then show the result.

    Example: i2i-unlearn demo
    """
    from i2i_unlearn.config.sections import load_params
    from i2i_unlearn.data.importers.embedded import write_embedded
    from i2i_unlearn.data.split.codes import create_key

    params = load_params()
    write_embedded("digits", "data")
    if not KEY_FILE.exists() and "I2I_UNLEARN_HMAC_KEY_FILE" not in os.environ:
        create_key(str(KEY_FILE))
    changed = _reproduce()
    changed |= _register_promote_show(params)
    if not changed:
        typer.echo("Nothing to do: all of this was up to date.")


def _reproduce() -> bool:
    """Run `dvc repro`; True if any stage ran."""
    from i2i_unlearn.support.errors import UserError

    before = _stamps()
    # dvc.yaml calls `i2i-unlearn` by name: the one beside this interpreter, activated or not.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run([sys.executable, "-m", "dvc", "repro"], check=False, env={**os.environ, "PATH": path})
    if done.returncode:
        raise UserError("`dvc repro` stopped; the line above says why. Run `make demo` again to go on from there")
    return _stamps() != before


def _stamps() -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in Path("artifacts").glob("*/summary.json")}


def _register_promote_show(params: dict[str, Any]) -> bool:
    """Print table, verdict, version and the report's place; True if anything was registered or promoted."""
    from rich.console import Console

    from i2i_unlearn.config.sections import RegisterConfig
    from i2i_unlearn.report.table import summary_table
    from i2i_unlearn.stages import register
    from i2i_unlearn.support.files import read_json
    from i2i_unlearn.support.progress import progress

    config = RegisterConfig.from_params(params)
    card = register.read_card("mlflow/model_card.md.j2")
    with progress("registry", 3) as advance:
        original = register.run_original("artifacts/original/model", config, card_template=card)
        advance(note="original")
        version = register.run(
            EVALUATION,
            "artifacts/unlearned",
            "artifacts/teacher/model",
            "artifacts/splits",
            config,
            params=params,
            card_template=card,
        )
        advance(note="unlearned")
        alias, refusal, promoted = _promote(params, str(version["version"]))
        advance(note="promotion")
    Console().print(summary_table(read_json(EVALUATION / "metrics.json"), read_json(EVALUATION / "verdicts.json")))
    typer.echo(f"MLflow: {config.model_name} version {version['version']}, {alias}")
    if refusal:
        typer.echo(f"Not promoted: {refusal}")
    typer.echo(f"Report: {EVALUATION / 'report.html'}")
    return promoted or "new" in (original["registered"], version["registered"])


def _promote(params: dict[str, Any], version: str) -> tuple[str, str, bool]:
    """Its alias in words, why it was refused (empty if it was not), and whether the champion changed."""
    from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig
    from i2i_unlearn.stages import promote
    from i2i_unlearn.support.errors import GateRefused

    try:
        facts = promote.run(PromoteConfig.from_params(params), RegisterConfig.from_params(params), version=version)
    except GateRefused as refusal:
        return "no alias", str(refusal), False
    return f"alias {facts['alias']}", "", facts["outcome"] == "promoted"
