"""Commands `pipeline upload`, `schedule` and `manifests`: pipelines that a cluster keeps."""

from pathlib import Path
from typing import Annotated

import typer

from i2i_unlearn.cli.kubeflow import (
    EXPERIMENT,
    TIMEOUT_S,
    CaFile,
    Experiment,
    Host,
    Namespace,
    Package,
    Param,
    ServiceAccount,
    Timeout,
    TokenFile,
    VerifyTls,
    where,
)
from i2i_unlearn.cli.pipeline import DEFAULT_PACKAGE
from i2i_unlearn.pipeline.cron import DAILY

app = typer.Typer()

CHECK = Path("pipelines/registry_check.yaml")


@app.command()
def upload(
    package: Package = DEFAULT_PACKAGE,
    name: Annotated[str, typer.Option(help="Name of the pipeline; default: the package's.")] = "",
    version: Annotated[str, typer.Option(help="Name of the version; default: the start of the file's sha256.")] = "",
    description: Annotated[str, typer.Option(help="Of the version; default: the package's. The sha256 is added.")] = "",
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    verify_tls: VerifyTls = True,
    timeout: Timeout = TIMEOUT_S,
) -> None:
    """Put the compiled pipeline into Kubeflow's list, so that people start it there: a new version, or the first one.

    Uploading the same file again changes nothing.

    Example: i2i-unlearn pipeline upload --version 2026-02 --description "New gate for portraits"
    """
    at = where(host, namespace, token_file, ca_file, verify_tls, timeout)
    from i2i_unlearn.pipeline.cluster.connect import connect
    from i2i_unlearn.pipeline.cluster.upload import upload as put

    with connect(at) as api:
        done = put(api, package, name=name, version=version, description=description)
        what = "was there already" if done.was_there else "uploaded"
        typer.echo(f"{done.pipeline} version {done.version}: {what}")
        typer.echo(f"page: {api.version_link(done.pipeline_id, done.version_id)}")


@app.command()
def schedule(
    package: Package = CHECK,
    param: Param = None,
    name: Annotated[str, typer.Option(help="Name of the recurring run; there is one of each name.")] = "registry-check",
    cron: Annotated[str, typer.Option(help="When: seconds, minutes, hours, day of month, month, day of week.")] = DAILY,
    experiment: Experiment = EXPERIMENT,
    service_account: ServiceAccount = "",
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    verify_tls: VerifyTls = True,
    timeout: Timeout = TIMEOUT_S,
) -> None:
    """Have Kubeflow run the check of the registry every day at six, or another package at other times.

    If the recurring run is there already, it says so and changes nothing.

    Example: i2i-unlearn pipeline schedule --cron "0 30 4 * * *" --param model_name=digits-inpainter
    """
    at = where(host, namespace, token_file, ca_file, verify_tls, timeout)
    from i2i_unlearn.pipeline.cluster.connect import connect
    from i2i_unlearn.pipeline.cluster.schedule import schedule as put

    with connect(at) as api:
        recurring_id, was_there = put(
            api, package, param or [], name=name, cron=cron, experiment=experiment, service_account=service_account
        )
        what = "is there already, nothing was changed" if was_there else "is made"
        typer.echo(f"{name} ({cron}): {what}\npage: {api.recurring_link(recurring_id)}")


@app.command()
def manifests(
    package: Package = DEFAULT_PACKAGE,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("artifacts/pipeline-manifests.yaml"),
    name: Annotated[str, typer.Option(help="Name of the Pipeline; default: i2i-unlearn- and the package's.")] = "",
    version: Annotated[
        str, typer.Option(help="Name of the PipelineVersion; default: that and the file's digest.")
    ] = "",
    namespace: Namespace = "",
) -> None:
    """Write the pipeline as custom resources of Kubernetes (Pipeline, PipelineVersion) for `kubectl apply`.

    For a Kubeflow that keeps pipelines in Kubernetes (its pipeline store is `kubernetes`).

    Example: i2i-unlearn pipeline manifests --namespace i2i-unlearn --out pipeline-manifests.yaml
    """
    from i2i_unlearn.pipeline.cluster.manifests import write_manifests

    pipeline, pipeline_version = write_manifests(package, out, name=name, version=version, namespace=namespace)
    typer.echo(f"wrote {out}: Pipeline {pipeline}, PipelineVersion {pipeline_version}")
