"""Command `demo`: the whole job on the embedded digits, from data to promotion. `make demo` calls it."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from i2i_unlearn.cli import options

app = typer.Typer()

KEY_FILE = Path(".secrets/hmac.key")
ORIGINAL = Path("artifacts/original/model")


@app.command()
def demo() -> None:
    """Run the whole job on the embedded digits and show the result. It is `dvc repro`, `register`, `registry promote`.

    Example: i2i-unlearn demo
    """
    from i2i_unlearn.config.sections import load_params
    from i2i_unlearn.data.importers.embedded import write_embedded
    from i2i_unlearn.data.split.codes import create_key

    params = load_params()
    write_embedded("digits", "data")
    if not KEY_FILE.exists() and "I2I_UNLEARN_HMAC_KEY_FILE" not in os.environ:
        create_key(str(KEY_FILE))
    reproduced = _reproduce()
    registered, version_lines = _register_and_promote(params)
    typer.echo("\n".join(("", *last_screen(Path.cwd(), version_lines))))
    if not (reproduced or registered):
        typer.echo("Nothing to do: everything was up to date.")


def _reproduce() -> bool:
    """Run `dvc repro`; True if any stage ran."""
    from i2i_unlearn.support.errors import UserError
    from i2i_unlearn.support.keeper import kept

    before = _stamps()
    # dvc.yaml calls `i2i-unlearn` by name: the one next to this interpreter, activated or not.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with kept([sys.executable, "-m", "dvc", "repro"], env={**os.environ, "PATH": path}) as dvc:
        code = dvc.wait()
    if code:
        raise UserError("`dvc repro` stopped; the line above says why. Run `i2i-unlearn demo` again to continue there")
    return _stamps() != before


def _stamps() -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in Path("artifacts").glob("*/summary.json")}


def _register_and_promote(params: dict[str, Any]) -> tuple[bool, list[str]]:
    """Register original and unlearned model, promote; whether anything changed, and the lines that say what."""
    from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig
    from i2i_unlearn.stages import promote, register
    from i2i_unlearn.support.errors import GateRefused
    from i2i_unlearn.support.progress import progress

    config, promotion = RegisterConfig.from_params(params), PromoteConfig.from_params(params)
    card = register.read_card("mlflow/model_card.md.j2")
    with progress("registry", 3) as advance:
        original = register.run_original(ORIGINAL, config, card_template=card, ledger=promotion.ledger)
        advance(note="original")
        folders = (options.EVALUATION, options.UNLEARNED, options.TEACHER, options.SPLITS)
        version = register.run(*folders, config, params=params, card_template=card, ledger=promotion.ledger)
        advance(note="unlearned")
        try:
            promoted = promote.run(promotion, config, version=str(version["version"]))
            alias, refused, moved = f"alias {promoted['alias']}", [], promoted["outcome"] == "promoted"
        except GateRefused as refusal:
            alias, refused, moved = "no alias", [f"Not promoted: {refusal}"], False
        advance(note="promotion")
    changed = moved or "new" in (original["registered"], version["registered"])
    return changed, [f"MLflow: {config.model_name} version {version['version']}, {alias}", *refused]


def last_screen(project: Path, version_lines: Iterable[str]) -> Iterator[str]:
    """What was forgotten, the three models, the verdicts, the version and where the report is: 24 lines at most."""
    from i2i_unlearn.evaluation.evaluated_model import read_summary
    from i2i_unlearn.report.terminal_summary import summary_lines, wrapped
    from i2i_unlearn.support.files import read_json

    split, found = read_summary(project / options.SPLITS, "split"), project / options.EVALUATION
    yield f"Forgotten: {split['num_forget']:,} of {split['num_images']:,} images (request {split['requests']})"
    yield from summary_lines(read_json(found / "metrics.json"), read_json(found / "verdicts.json"))
    yield ""
    for line in version_lines:
        yield from wrapped(line)
    yield f"Report: {options.EVALUATION / 'report.html'}"
