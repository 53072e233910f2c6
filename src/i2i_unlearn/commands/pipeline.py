"""Commands `pipeline compile` and `pipeline run`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The Kubeflow pipeline: compile it, or run it on this machine.", no_args_is_help=True)

DEFAULT_PACKAGE = Path("pipelines/unlearning.yaml")


class Runner(StrEnum):
    """Where the steps run."""

    subprocess = "subprocess"


@app.command("compile")
def compile_(
    out: Annotated[Path, typer.Option(help="File to write.")] = DEFAULT_PACKAGE,
) -> None:
    """Compile pipelines/unlearning.py, with the defaults of params.yaml, to the YAML that Kubeflow takes.

    Example: i2i-unlearn pipeline compile --out pipelines/unlearning.yaml
    """
    from i2i_unlearn.runner import compile_pipeline

    compile_pipeline(out, Path.cwd())
    typer.echo(f"wrote {out}")


@app.command("run")
def run(
    runner: Annotated[Runner, typer.Option(help="Each step in a process of its own on this machine.")] = (
        Runner.subprocess
    ),
    package: Annotated[Path, typer.Option(help="Compiled pipeline; nothing else is needed.")] = DEFAULT_PACKAGE,
    param: Annotated[
        list[str] | None, typer.Option(help="A field of the run form as key=value; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Each run makes a new folder in here.")] = Path("artifacts/pipeline"),
) -> None:
    """Run the compiled pipeline on this machine, step by step, as a cluster would.

    Example: i2i-unlearn pipeline run --runner subprocess --param alpha=0.5 --param reference=none
    """
    from i2i_unlearn.runner import run_package

    folder = run_package(package, param or [], out)
    typer.echo(f"outputs: {folder}")
    typer.echo(f"report:  {folder / 'evaluate/evaluation/report.html'}")
