"""Commands `pipeline compile` and `pipeline run`; those for a cluster are in pipeline_cluster.py."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from i2i_unlearn.cli.kubeflow import DEFAULT_PACKAGE, Package, Param
from i2i_unlearn.cli.next_step import after_register, next_step

app = typer.Typer(help="The Kubeflow pipeline: compile it, run it here or on a cluster.", no_args_is_help=True)

FORM_PAGE = Path("docs/run_form.md")
REPORTS = {"report": "evaluate/evaluation/report.html", "page": "pareto/table/pareto.html"}
"""The pages to look at first, below a run's folder."""


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
    """What the steps' containers can reach."""

    none = "none"
    host = "host"


@app.command("compile")
def compile_(
    pipeline: Annotated[Pipeline | None, typer.Option(help="Compile only this one; default: all.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, for one pipeline (default: unlearning). Without it: pipelines/NAME.yaml."),
    ] = None,
) -> None:
    """Compile the pipelines to YAML for Kubeflow.

    Defaults come from params.yaml. In a checkout, docs/run_form.md is written again, too.

    Example: i2i-unlearn pipeline compile --pipeline sweep --out sweep.yaml
    """
    from i2i_unlearn.config.sections import load_params
    from i2i_unlearn.pipeline.compiled import warnings_of, write_form_page
    from i2i_unlearn.pipeline.local.runner import compile_pipeline

    asked = [pipeline] if pipeline else [Pipeline.unlearning] if out else list(Pipeline)
    for name in asked:
        path = out or Path(f"pipelines/{name}.yaml")
        compile_pipeline(path, Path.cwd(), name)
        typer.echo(f"wrote {path}")
    if Pipeline.unlearning in asked:
        for line in warnings_of({"evaluate": load_params(Path("params.yaml"))["evaluate"]}):
            typer.echo(line)
    if not out and Pipeline.unlearning in asked and FORM_PAGE.is_file():
        write_form_page(FORM_PAGE, DEFAULT_PACKAGE, Path("params.yaml"))
        typer.echo(f"wrote {FORM_PAGE}")


@app.command("run")
def run(
    runner: Annotated[
        Runner, typer.Option(help="Run each step in its own process on this machine, or in a container of the image.")
    ] = Runner.subprocess,
    package: Package = DEFAULT_PACKAGE,
    param: Param = None,
    out: Annotated[Path, typer.Option(help="Folder in which each run makes a new folder.")] = Path(
        "artifacts/pipeline"
    ),
    mount: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --runner docker: folders outside the current one that the steps read; may be repeated."
        ),
    ] = None,
    network: Annotated[
        Network, typer.Option(help="With --runner docker: what the steps can reach; host for an MLflow server.")
    ] = Network.none,
) -> None:
    """Run the compiled pipeline on this machine, step by step.

    Example: i2i-unlearn pipeline run --runner subprocess --param alpha=0.5 --param reference=0
    """
    from i2i_unlearn.pipeline.compiled import out_of_date
    from i2i_unlearn.pipeline.local.containers import Containers
    from i2i_unlearn.pipeline.local.runner import outcome_lines, run_package, step_facts
    from i2i_unlearn.support.errors import UserError

    if runner is not Runner.docker and (mount or network is not Network.none):
        raise UserError("--mount and --network apply to containers; add --runner docker")
    containers = Containers(network, tuple(mount or ())) if runner is Runner.docker else None
    for line in out_of_date(package, Path.cwd()):
        typer.echo(line, err=True)
    folder = run_package(package, param or [], out, containers)
    for line in outcome_lines(folder):
        typer.echo(line)
    typer.echo(f"outputs: {folder}")
    for name, place in REPORTS.items():
        if (folder / place).is_file():
            typer.echo(f"{name + ':':8} {folder / place}")
    if registered := step_facts(folder, "register"):
        known = {**registered, **step_facts(folder, "promote")}
        if then := next_step("pipeline run", after_register(known), version=known["version"]):
            typer.echo(then)
