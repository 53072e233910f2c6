"""Start a run of a compiled pipeline."""

import contextlib
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i_unlearn.pipeline.cluster.connect import Pipelines
from i2i_unlearn.pipeline.cluster.rest import Unreachable
from i2i_unlearn.pipeline.compiled import carried, out_of_date, warnings_of
from i2i_unlearn.pipeline.local.runner import parse_params, read_package


@dataclass(frozen=True, kw_only=True)
class Order:
    """A run as it is asked for; made before anybody is connected to."""

    package: Path
    arguments: Mapping[str, Any]
    """Of the run form; what is not in here keeps its default."""
    name: str
    experiment: str
    """Kubeflow's: the group under which its pages show the run."""
    service_account: str = ""
    """That the pods run as; empty: Kubeflow's choice."""
    pipeline_root: str = ""
    """Where artifacts go; empty: Kubeflow's choice."""
    warnings: Sequence[str] = ()
    """Of the package, one line each."""


def order(
    package: Path,
    params: Sequence[str],
    *,
    experiment: str,
    name: str = "",
    service_account: str = "",
    pipeline_root: str = "",
) -> Order:
    """Check package and parameters as `pipeline run` does.

    Raises:
        UserError: the package or a parameter is wrong.
    """
    spec = read_package(package)
    arguments = parse_params(params, spec)
    return Order(
        package=package,
        arguments=arguments,
        name=name or f"{spec['pipelineInfo']['name']} {time.strftime('%Y-%m-%d %H-%M-%S')}",
        experiment=experiment,
        service_account=service_account,
        pipeline_root=pipeline_root,
        warnings=[*out_of_date(package, Path.cwd()), *warnings_of(carried(spec))],
    )


def submit(api: Pipelines, wanted: Order) -> str:
    """Start the run; return its id.

    Raises:
        UserError: the API cannot be reached or refuses.
    """
    with quiet():  # kfp prints links
        run = api.client.run_pipeline(
            experiment_id=experiment_id(api, wanted.experiment),
            job_name=wanted.name,
            pipeline_package_path=str(wanted.package),
            params=dict(wanted.arguments),
            service_account=wanted.service_account or None,
            pipeline_root=wanted.pipeline_root or None,
        )
    return identified(run.run_id, "run")


def experiment_id(api: Pipelines, name: str) -> str:
    """Of the experiment of this name; it is made if there is none."""
    with quiet():
        found = api.client.create_experiment(name=name, namespace=api.namespace)
    return identified(found.experiment_id, "experiment")


def identified(given: str | None, what: str) -> str:
    """The id in a reply.

    Raises:
        UserError: there is none.
    """
    if not given:
        raise Unreachable(
            f"Kubeflow Pipelines answered without the {what}'s id; check with `pipeline list`, correct --host"
        )
    return given


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what kfp's client prints: links, which are said here in one place."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
