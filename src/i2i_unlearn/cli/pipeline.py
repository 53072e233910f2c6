"""Commands `pipeline compile` and `pipeline run`; those of a cluster are in pipeline_runs.py and pipeline_store.py."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="The Kubeflow pipeline: compile it, run it on this machine, or on a cluster.", no_args_is_help=True
)

DEFAULT_PACKAGE = Path("pipelines/unlearning.yaml")
REPORTS = {"report": "evaluate/evaluation/report.html", "page": "pareto/table/pareto.html"}
"""What a person looks at first, where the run made it."""


class Pipeline(StrEnum):
    """A pipeline of this project."""

    unlearning = "unlearning"
    sweep = "sweep"
    registry_check = "registry_check"


class Runner(StrEnum):
    """Where the steps run."""

    subprocess = "subprocess"
    docker = "docker"


class Network(StrEnum):
    """What the containers of the steps reach."""

    none = "none"
    host = "host"


@app.command("compile")
def compile_(
    pipeline: Annotated[Pipeline | None, typer.Option(help="Compile this one alone; default: all.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write (one pipeline; default: unlearning). Else pipelines/NAME.yaml.")
    ] = None,
) -> None:
    """Compile the pipelines, with the defaults of params.yaml, to the YAML that Kubeflow takes.

    Example: i2i-unlearn pipeline compile --pipeline sweep --out sweep.yaml
    """
    from i2i_unlearn.pipeline.local.runner import compile_pipeline

    asked = [pipeline] if pipeline else [Pipeline.unlearning] if out else list(Pipeline)
    for name in asked:
        path = out or Path(f"pipelines/{name}.yaml")
        compile_pipeline(path, Path.cwd(), name)
        typer.echo(f"wrote {path}")


@app.command("run")
def run(
    runner: Annotated[
        Runner, typer.Option(help="Each step in a process of its own on this machine, or in a container of the image.")
    ] = Runner.subprocess,
    package: Annotated[Path, typer.Option(help="Compiled pipeline; nothing else is needed.")] = DEFAULT_PACKAGE,
    param: Annotated[
        list[str] | None, typer.Option(help="A field of the run form as key=value; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Each run makes a new folder in here.")] = Path("artifacts/pipeline"),
    mount: Annotated[
        list[Path] | None,
        typer.Option(help="With --runner docker: what the steps read outside the current folder; may be repeated."),
    ] = None,
    network: Annotated[
        Network, typer.Option(help="With --runner docker: what the steps reach; host for an MLflow server.")
    ] = Network.none,
) -> None:
    """Run the compiled pipeline on this machine, step by step, as a cluster would.

    Example: i2i-unlearn pipeline run --runner subprocess --param alpha=0.5 --param reference=none
    """
    from i2i_unlearn.pipeline.local.containers import Containers
    from i2i_unlearn.pipeline.local.runner import run_package
    from i2i_unlearn.support.errors import UserError

    if runner is not Runner.docker and (mount or network is not Network.none):
        raise UserError("--mount and --network are for containers; add --runner docker")
    containers = Containers(network, tuple(mount or ())) if runner is Runner.docker else None
    folder = run_package(package, param or [], out, containers)
    typer.echo(f"outputs: {folder}")
    for name, place in REPORTS.items():
        if (folder / place).is_file():
            typer.echo(f"{name + ':':8} {folder / place}")
