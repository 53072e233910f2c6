"""Command `doctor`."""

from typing import Annotated

import typer

from i2i_unlearn.cli.kubeflow import CaFile, Host, Namespace, Package, Timeout, TokenFile, VerifyTls, where
from i2i_unlearn.cli.pipeline import DEFAULT_PACKAGE

app = typer.Typer()


@app.command()
def doctor(
    in_container: Annotated[
        bool, typer.Option("--in-container", help="Check the container that this runs in, as the steps need it.")
    ] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Ask Kubernetes, too: rights, secrets, volume, GPUs, image. Reads only.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    package: Package = DEFAULT_PACKAGE,
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    verify_tls: VerifyTls = True,
    timeout: Timeout = 10.0,
) -> None:
    """Check that what is needed is here: ok, warn or fail for each thing, and what to do. Exit code 1 on any fail.

    Kubeflow Pipelines is asked where --host or KF_PIPELINES_ENDPOINT names it, Kubernetes with --cluster.

    Example: i2i-unlearn doctor --json
    """
    from dataclasses import asdict
    from json import dumps

    from i2i_unlearn.support.errors import UserError

    if in_container and cluster:
        raise UserError(
            "--in-container looks at the container alone, where no Kubernetes is asked; leave out it or --cluster"
        )
    from i2i_unlearn.cli.doctor_checks import EVERYWHERE, IN_CONTAINER, look
    from i2i_unlearn.cli.doctor_checks.kubeflow import kubeflow
    from i2i_unlearn.cli.doctor_checks.kubernetes_namespace import kubernetes_namespace
    from i2i_unlearn.cli.doctor_checks.mlflow_server import mlflow_server

    checks = list(IN_CONTAINER if in_container else EVERYWHERE)
    if not in_container:
        checks.append(mlflow_server(timeout))
        if host or cluster:
            checks.append(kubeflow(lambda: where(host, namespace, token_file, ca_file, verify_tls, timeout), package))
        if cluster:
            checks.append(kubernetes_namespace(namespace, timeout, package))
    lines = look(checks)
    if json:
        typer.echo(dumps([asdict(line) for line in lines], indent=2))
    else:
        width = max(len(line.name) for line in lines)
        for line in lines:
            typer.echo(f"{line.state:4}  {line.name:{width}}  {line.found}")
            if line.advice:
                typer.echo(f"{'':4}  {'':{width}}  -> {line.advice}")
    if any(line.state == "fail" for line in lines):
        raise typer.Exit(1)
