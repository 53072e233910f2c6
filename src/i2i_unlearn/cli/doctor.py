"""Command `doctor`."""

import functools
from typing import Annotated

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.kubeflow import DEFAULT_PACKAGE, Kubeflow, Package, with_kubeflow
from i2i_unlearn.cli.output import print_json

app = typer.Typer()


@app.command()
@functools.partial(with_kubeflow, timeout=10.0)
def doctor(
    kubeflow: Kubeflow,
    in_container: Annotated[
        bool, typer.Option("--in-container", help="Check the container this runs in for what the steps need.")
    ] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Also ask Kubernetes: rights, secrets, volume, GPUs, image. Reads only.")
    ] = False,
    json: options.Json = False,
    package: Package = DEFAULT_PACKAGE,
) -> None:
    """Check this machine, its services and the project in this folder.

    Prints ok, warn or fail per item, and what to do. Exit code 1 on any fail.

    Kubeflow Pipelines is checked if --host or KF_PIPELINES_ENDPOINT names it, Kubernetes with --cluster.

    Example: i2i-unlearn doctor --json
    """
    from dataclasses import asdict

    from i2i_unlearn.support.errors import UserError

    if in_container and cluster:
        raise UserError("--in-container checks the container alone and --cluster asks Kubernetes; give one of the two")
    from i2i_unlearn.cli.doctor_checks import EVERYWHERE, IN_CONTAINER, look
    from i2i_unlearn.cli.doctor_checks.kubeflow import kubeflow as pipelines_server
    from i2i_unlearn.cli.doctor_checks.kubernetes_namespace import kubernetes_namespace
    from i2i_unlearn.cli.doctor_checks.mlflow_server import mlflow_server

    checks = list(IN_CONTAINER if in_container else EVERYWHERE)
    if not in_container:
        checks.append(mlflow_server(kubeflow.timeout))
        if kubeflow.host or cluster:
            checks.append(pipelines_server(kubeflow.where, package))
        if cluster:
            checks.append(kubernetes_namespace(kubeflow.namespace, kubeflow.timeout, package))
    lines = look(checks)
    if json:
        print_json([asdict(line) for line in lines])
    else:
        width = max(len(line.name) for line in lines)
        for line in lines:
            typer.echo(f"{line.state:4}  {line.name:{width}}  {line.found}")
            if line.advice:
                typer.echo(f"{'':4}  {'':{width}}  -> {line.advice}")
    if any(line.state == "fail" for line in lines):
        raise typer.Exit(1)
