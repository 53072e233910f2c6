"""Commands `pipeline submit`, `list`, `watch`, `logs`, `cancel`, `upload`, `schedule`, `manifests`: on a cluster."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.kubeflow import (
    DEFAULT_PACKAGE,
    EXPERIMENT,
    Experiment,
    Kubeflow,
    Namespace,
    Package,
    Param,
    RunId,
    ServiceAccount,
    with_kubeflow,
)
from i2i_unlearn.cli.output import print_json
from i2i_unlearn.pipeline.cron import DAILY

app = typer.Typer()

CHECK = Path("pipelines/registry_check.yaml")


@app.command()
@with_kubeflow
def submit(
    kubeflow: Kubeflow,
    package: Package = DEFAULT_PACKAGE,
    param: Param = None,
    name: Annotated[str, typer.Option(help="Name of the run; default: the pipeline's, and the time.")] = "",
    experiment: Experiment = EXPERIMENT,
    service_account: ServiceAccount = "",
    pipeline_root: Annotated[str, typer.Option(help="Where artifacts go; default: Kubeflow's choice.")] = "",
    estimate: Annotated[
        bool, typer.Option("--estimate", help="First estimate memory and time; see --dry-run.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check package and parameters; start nothing.")] = False,
) -> None:
    """Start a run on a cluster. Prints its id and where to see it.

    Example: i2i-unlearn pipeline submit --host http://127.0.0.1:8080 --param requests=digit-3 --param alpha=0.5
    """
    from i2i_unlearn.pipeline.cluster import submit as verbs
    from i2i_unlearn.pipeline.local import runner

    order = verbs.order(
        package,
        param or [],
        name=name,
        experiment=experiment,
        service_account=service_account,
        pipeline_root=pipeline_root,
    )
    for line in order.warnings:
        typer.echo(line)
    if estimate:
        from i2i_unlearn.config.sections import load_params
        from i2i_unlearn.pipeline.cost import of_package

        params = load_params(options.PARAMS) if options.PARAMS.is_file() else None
        for line in of_package(runner.read_package(package), order.arguments, params):
            typer.echo(line)
    if dry_run:
        given = ", ".join(f"{key}={value!r}" for key, value in order.arguments.items())
        typer.echo(f"would start {order.name!r} from {package} with {given or 'the defaults'}")
        return
    with kubeflow.connect() as api:
        run_id = verbs.submit(api, order)
        typer.echo(f"run:   {run_id}\npage:  {api.run_link(run_id)}\nwatch: i2i-unlearn pipeline watch {run_id}")


@app.command("list")
@with_kubeflow
def list_(
    kubeflow: Kubeflow,
    limit: Annotated[int, typer.Option(min=1, help="How many runs to list, newest first.")] = 20,
    experiment: Annotated[str, typer.Option(help="Only runs of this Kubeflow experiment.")] = "",
    json: options.Json = False,
) -> None:
    """List runs on the cluster, newest first.

    Example: i2i-unlearn pipeline list --limit 5
    """
    from dataclasses import asdict

    from i2i_unlearn.pipeline.cluster.runs import clock, newest
    from i2i_unlearn.support.table import table

    with kubeflow.connect() as api:
        runs = newest(api, limit, experiment)
    if json:
        print_json([asdict(run) for run in runs])
        return
    rows = [
        (run.id, run.state, run.created.strftime("%Y-%m-%d %H:%M") if run.created else "", clock(run.seconds), run.name)
        for run in runs
    ]
    typer.echo(table(("id", "state", "created (UTC)", "took", "name"), rows) if rows else "no runs")


@app.command()
@with_kubeflow
def watch(
    kubeflow: Kubeflow,
    run_id: RunId,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two checks.")] = 5.0,
) -> None:
    """Follow a run until it ends. Exit code 0 if it succeeded, else 1.

    Prints one line per change of a step's state. Ctrl-C stops watching; the run continues.

    Example: i2i-unlearn pipeline watch 8f6f2e3a-0c1d-4f7b-9a51-3f2c6b1d7e90
    """
    from i2i_unlearn.pipeline.cluster.watch import watch as follow

    with kubeflow.connect() as api, _goes_on(run_id):
        typer.echo(api.run_link(run_id))
        state, reason = follow(api, run_id, typer.echo, every)
    _tell_end(run_id, state, reason)


@app.command()
@with_kubeflow
def logs(
    kubeflow: Kubeflow,
    run_id: RunId,
    step: Annotated[str, typer.Option(help="Only this step, for example unlearn.")] = "",
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last lines of each step.")] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Continue until the run ends; exit code as for `watch`. Also asks Kubeflow."),
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, help="With --follow: seconds between two checks.")] = 2.0,
) -> None:
    """Print the logs of a run's steps. They come from Kubernetes, as with kubectl; Kubeflow's API has none.

    Ctrl-C stops following; the run continues.

    Example: i2i-unlearn pipeline logs 8f6f2e3a-0c1d-4f7b-9a51-3f2c6b1d7e90 --step unlearn --tail 50
    """
    from i2i_unlearn.pipeline.cluster import kubernetes_api
    from i2i_unlearn.pipeline.cluster.logs import print_logs

    def write(text: str) -> None:
        typer.echo(text, nl=False)

    if not follow:
        with kubernetes_api.connect(kubeflow.namespace, kubeflow.timeout) as kubernetes:
            print_logs(kubernetes, run_id, write, step=step, tail=tail)
        return
    from i2i_unlearn.pipeline.cluster import follow_logs

    def say(line: str) -> None:
        typer.echo(line, err=True)

    with (
        kubeflow.connect() as api,
        kubernetes_api.connect(kubeflow.namespace, kubeflow.timeout) as kubernetes,
        _goes_on(run_id),
    ):
        state, reason = follow_logs.follow(api, kubernetes, run_id, write, say, step=step, tail=tail, every_s=every)
    _tell_end(run_id, state, reason)


@contextlib.contextmanager
def _goes_on(run_id: str) -> Iterator[None]:
    """On Ctrl-C, say that the run continues."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"run {run_id} continues; end it with `i2i-unlearn pipeline cancel {run_id}`", err=True)
        raise


def _tell_end(run_id: str, state: str, reason: str) -> None:
    """Raise UserError unless the run succeeded."""
    from i2i_unlearn.pipeline.cluster.runs import GOOD
    from i2i_unlearn.support.errors import UserError

    if state not in GOOD:
        logs = f"; `i2i-unlearn pipeline logs {run_id}` shows what its steps printed" if state == "FAILED" else ""
        raise UserError(f"run {run_id} ended as {state}{f' ({reason})' if reason else ''}{logs}")
    typer.echo(f"run {run_id} ended as {state}")


@app.command()
@with_kubeflow
def cancel(kubeflow: Kubeflow, run_id: RunId) -> None:
    """End a run. A run that has already ended is left as it is, and the command says so.

    Example: i2i-unlearn pipeline cancel 8f6f2e3a-0c1d-4f7b-9a51-3f2c6b1d7e90
    """
    from i2i_unlearn.pipeline.cluster import runs

    with kubeflow.connect() as api:
        typer.echo(runs.cancel(api, run_id))


@app.command()
@with_kubeflow
def upload(
    kubeflow: Kubeflow,
    package: Package = DEFAULT_PACKAGE,
    name: Annotated[str, typer.Option(help="Name of the pipeline; default: the package's.")] = "",
    version: Annotated[str, typer.Option(help="Name of the version; default: the start of the file's sha256.")] = "",
    description: Annotated[str, typer.Option(help="Of the version; default: the package's. The sha256 is added.")] = "",
) -> None:
    """Add a version of the compiled pipeline to Kubeflow's list.

    People can then start it from Kubeflow's pages. Uploading the same file again changes nothing.

    Example: i2i-unlearn pipeline upload --version 2026-02 --description "New gate for portraits"
    """
    from i2i_unlearn.pipeline.cluster.upload import upload as put

    with kubeflow.connect() as api:
        done = put(api, package, name=name, version=version, description=description)
        what = "exists already" if done.was_there else "uploaded"
        typer.echo(f"{done.pipeline} version {done.version}: {what}")
        typer.echo(f"page: {api.version_link(done.pipeline_id, done.version_id)}")


@app.command()
@with_kubeflow
def schedule(
    kubeflow: Kubeflow,
    package: Package = CHECK,
    param: Param = None,
    name: Annotated[str, typer.Option(help="Name of the recurring run; names are unique.")] = "registry-check",
    cron: Annotated[str, typer.Option(help="When: seconds, minutes, hours, day of month, month, day of week.")] = DAILY,
    experiment: Experiment = EXPERIMENT,
    service_account: ServiceAccount = "",
) -> None:
    """Have Kubeflow run `registry check` every day at six.

    --package and --cron run another pipeline at other times. If the recurring run exists already, the command says so
    and changes nothing.

    Example: i2i-unlearn pipeline schedule --cron "0 30 4 * * *" --param model_name=digits-inpainter
    """
    from i2i_unlearn.pipeline.cluster.schedule import schedule as put

    with kubeflow.connect() as api:
        recurring_id, was_there = put(
            api, package, param or [], name=name, cron=cron, experiment=experiment, service_account=service_account
        )
        what = "exists already, nothing was changed" if was_there else "created"
        typer.echo(f"{name} ({cron}): {what}\npage: {api.recurring_link(recurring_id)}")


@app.command()
def manifests(
    package: Package = DEFAULT_PACKAGE,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("artifacts/pipeline-manifests.yaml"),
    name: Annotated[str, typer.Option(help="Name of the Pipeline; default: i2i-unlearn- and the package's.")] = "",
    version: Annotated[
        str, typer.Option(help="Name of the PipelineVersion; default: the same and the file's digest.")
    ] = "",
    namespace: Namespace = "",
) -> None:
    """Write the pipeline as Kubernetes resources for `kubectl apply`.

    They are a Pipeline and a PipelineVersion, for a Kubeflow that keeps pipelines in Kubernetes (its pipeline store is
    `kubernetes`).

    Example: i2i-unlearn pipeline manifests --namespace i2i-unlearn --out pipeline-manifests.yaml
    """
    from i2i_unlearn.pipeline.cluster.manifests import write_manifests

    pipeline, pipeline_version = write_manifests(package, out, name=name, version=version, namespace=namespace)
    typer.echo(f"wrote {out}: Pipeline {pipeline}, PipelineVersion {pipeline_version}")
