"""Commands `pipeline submit`, `list`, `watch`, `logs` and `cancel`: runs on a cluster."""

import contextlib
from collections.abc import Iterator
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
    RunId,
    ServiceAccount,
    Timeout,
    TokenFile,
    VerifyTls,
    where,
)
from i2i_unlearn.cli.pipeline import DEFAULT_PACKAGE

app = typer.Typer()

PARAMS = Path("params.yaml")


@app.command()
def submit(
    package: Package = DEFAULT_PACKAGE,
    param: Param = None,
    name: Annotated[str, typer.Option(help="Name of the run; default: the pipeline's, and the time.")] = "",
    experiment: Experiment = EXPERIMENT,
    service_account: ServiceAccount = "",
    pipeline_root: Annotated[str, typer.Option(help="Where artifacts go; default: Kubeflow's choice.")] = "",
    estimate: Annotated[
        bool, typer.Option("--estimate", help="First say what memory and time are to be expected; see --dry-run.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check package and parameters; start nothing.")] = False,
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    verify_tls: VerifyTls = True,
    timeout: Timeout = TIMEOUT_S,
) -> None:
    """Start a run of the compiled pipeline on a cluster; print its id and where to see it.

    Example: i2i-unlearn pipeline submit --host http://127.0.0.1:8080 --param requests=digit-3 --param device=cuda
    """
    at = where(host, namespace, token_file, ca_file, verify_tls, timeout)
    from i2i_unlearn.pipeline.cluster import submit as verbs
    from i2i_unlearn.pipeline.cluster.connect import connect
    from i2i_unlearn.pipeline.local import runner

    order = verbs.order(
        package,
        param or [],
        name=name,
        experiment=experiment,
        service_account=service_account,
        pipeline_root=pipeline_root,
    )
    if estimate:
        from i2i_unlearn.config.sections import load_params
        from i2i_unlearn.pipeline.estimate import of_package

        params = load_params(PARAMS) if PARAMS.is_file() else None
        for line in of_package(runner.read_package(package), order.arguments, params):
            typer.echo(line)
    if dry_run:
        given = ", ".join(f"{key}={value!r}" for key, value in order.arguments.items())
        typer.echo(f"would start {order.name!r} from {package} with {given or 'the defaults'}")
        return
    with connect(at) as api:
        run_id = verbs.submit(api, order)
        typer.echo(f"run:   {run_id}\npage:  {api.run_link(run_id)}\nwatch: i2i-unlearn pipeline watch {run_id}")


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 20,
    experiment: Annotated[str, typer.Option(help="Runs of this Kubeflow experiment alone.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    verify_tls: VerifyTls = True,
    timeout: Timeout = TIMEOUT_S,
) -> None:
    """List runs on the cluster, newest first.

    Example: i2i-unlearn pipeline list --limit 5
    """
    at = where(host, namespace, token_file, ca_file, verify_tls, timeout)
    from dataclasses import asdict
    from json import dumps

    from i2i_unlearn.cli.table import table
    from i2i_unlearn.pipeline.cluster.connect import connect
    from i2i_unlearn.pipeline.cluster.runs import clock, newest

    with connect(at) as api:
        runs = newest(api, limit, experiment)
    if json:
        typer.echo(dumps([asdict(run) for run in runs], indent=2, default=lambda moment: moment.isoformat()))
        return
    rows = [
        (run.id, run.state, run.created.strftime("%Y-%m-%d %H:%M") if run.created else "", clock(run.seconds), run.name)
        for run in runs
    ]
    typer.echo(table(("id", "state", "created (UTC)", "took", "name"), rows) if rows else "no runs")


@app.command()
def watch(
    run_id: RunId,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 5.0,
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    verify_tls: VerifyTls = True,
    timeout: Timeout = TIMEOUT_S,
) -> None:
    """Follow a run until it ends: a line when a step's state changes. Exit code 0 if it succeeded, else 1.

    Ctrl-C ends the watching alone; the run goes on.

    Example: i2i-unlearn pipeline watch 8f6f2e3a-0c1d-4f7b-9a51-3f2c6b1d7e90
    """
    at = where(host, namespace, token_file, ca_file, verify_tls, timeout)
    from i2i_unlearn.pipeline.cluster.connect import connect
    from i2i_unlearn.pipeline.cluster.watch import watch as follow

    with connect(at) as api, _goes_on(run_id):
        typer.echo(api.run_link(run_id))
        state, reason = follow(api, run_id, typer.echo, every)
    _tell_end(run_id, state, reason)


@app.command()
def logs(
    run_id: RunId,
    step: Annotated[str, typer.Option(help="This step alone, for example unlearn.")] = "",
    tail: Annotated[int | None, typer.Option(min=1, help="The last lines of each step alone.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the run ends; exit code as of `watch`. Asks Kubeflow, too.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, help="With --follow: seconds between two looks.")] = 2.0,
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    verify_tls: VerifyTls = True,
    timeout: Timeout = TIMEOUT_S,
) -> None:
    """Print what the steps of a run printed. It asks Kubernetes, as kubectl does: Kubeflow's API has no logs.

    Ctrl-C ends the following alone; the run goes on.

    Example: i2i-unlearn pipeline logs 8f6f2e3a-0c1d-4f7b-9a51-3f2c6b1d7e90 --step unlearn --tail 50
    """
    from i2i_unlearn.pipeline.cluster import kubernetes_api
    from i2i_unlearn.pipeline.cluster.logs import print_logs

    def write(text: str) -> None:
        typer.echo(text, nl=False)

    if not follow:
        with kubernetes_api.connect(namespace, timeout) as kubernetes:
            print_logs(kubernetes, run_id, write, step=step, tail=tail)
        return
    at = where(host, namespace, token_file, ca_file, verify_tls, timeout)
    from i2i_unlearn.pipeline.cluster import follow_logs
    from i2i_unlearn.pipeline.cluster.connect import connect

    def say(line: str) -> None:
        typer.echo(line, err=True)

    with connect(at) as api, kubernetes_api.connect(namespace, timeout) as kubernetes, _goes_on(run_id):
        state, reason = follow_logs.follow(api, kubernetes, run_id, write, say, step=step, tail=tail, every_s=every)
    _tell_end(run_id, state, reason)


@contextlib.contextmanager
def _goes_on(run_id: str) -> Iterator[None]:
    """Say on Ctrl-C that the run is not stopped."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"run {run_id} goes on; `i2i-unlearn pipeline cancel {run_id}` would end it", err=True)
        raise


def _tell_end(run_id: str, state: str, reason: str) -> None:
    """Raise UserError unless the run did what it should."""
    from i2i_unlearn.pipeline.cluster.runs import GOOD
    from i2i_unlearn.support.errors import UserError

    if state not in GOOD:
        logs = "; `i2i-unlearn pipeline logs` shows what its steps said" if state == "FAILED" else ""
        raise UserError(f"run {run_id} ended as {state}{f' ({reason})' if reason else ''}{logs}")
    typer.echo(f"run {run_id} ended as {state}")


@app.command()
def cancel(
    run_id: RunId,
    host: Host = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    verify_tls: VerifyTls = True,
    timeout: Timeout = TIMEOUT_S,
) -> None:
    """End a run. One that has ended is left as it is, and the command says so.

    Example: i2i-unlearn pipeline cancel 8f6f2e3a-0c1d-4f7b-9a51-3f2c6b1d7e90
    """
    at = where(host, namespace, token_file, ca_file, verify_tls, timeout)
    from i2i_unlearn.pipeline.cluster import runs
    from i2i_unlearn.pipeline.cluster.connect import connect

    with connect(at) as api:
        typer.echo(runs.cancel(api, run_id))
