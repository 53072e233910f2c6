"""Options that commands about Kubeflow Pipelines share, declared once."""

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from i2i_unlearn.pipeline.cluster.connect import Pipelines, Where

RunId = Annotated[str, typer.Argument(help="Id of the run, as `pipeline submit` and `pipeline list` print it.")]
Param = Annotated[list[str] | None, typer.Option(help="A field of the run form as key=value; may be repeated.")]
Package = Annotated[Path, typer.Option(help="Compiled pipeline; nothing else is needed.")]
Namespace = Annotated[
    str, typer.Option(envvar="I2I_UNLEARN_NAMESPACE", help="Your namespace, where Kubeflow keeps users apart.")
]
Experiment = Annotated[str, typer.Option(help="Kubeflow's experiment: the group under which its pages list the run.")]
ServiceAccount = Annotated[
    str, typer.Option(help="Account that the pods run as, for example i2i-unlearn-runner; default: Kubeflow's choice.")
]
EXPERIMENT = "i2i-unlearn"
DEFAULT_PACKAGE = Path("pipelines/unlearning.yaml")
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Kubeflow:
    """Where Kubeflow Pipelines answers. Each field is an option."""

    host: Annotated[
        str,
        typer.Option(
            envvar="KF_PIPELINES_ENDPOINT", help="Address of Kubeflow Pipelines; in a pod: Kubeflow's usual one."
        ),
    ] = ""
    namespace: Namespace = ""
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="KF_PIPELINES_TOKEN_FILE",
            help="File with the token, read again for each request. Default: $KF_PIPELINES_TOKEN, or the pod's own.",
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        typer.Option(envvar="KF_PIPELINES_CA_FILE", help="Authority (PEM) that signed the server's certificate."),
    ] = None
    verify_tls: Annotated[
        bool,
        typer.Option("--verify-tls/--no-verify-tls", help="Check the server's certificate; off is for tests only."),
    ] = True
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = TIMEOUT_S

    def where(self) -> "Where":
        """The same for `pipeline.cluster`.

        Raises:
            UserError: kfp is not installed.
        """
        from i2i_unlearn.pipeline.cluster.connect import Where

        return Where(
            host=self.host,
            namespace=self.namespace,
            token_file=self.token_file,
            ca_file=self.ca_file,
            verify_tls=self.verify_tls,
            timeout_s=self.timeout,
        )

    def connect(self) -> "AbstractContextManager[Pipelines]":
        """A connection to Kubeflow Pipelines; kfp is imported only here."""
        where = self.where()
        from i2i_unlearn.pipeline.cluster.connect import connect

        return connect(where)


def with_kubeflow(command: Callable[..., None], timeout: float = TIMEOUT_S) -> Callable[..., None]:
    """Give a command the options of Kubeflow Pipelines, after its own; it receives them as the argument `kubeflow`.

    `timeout`: default of its option, in seconds.
    """
    *others, last = inspect.signature(Kubeflow).parameters.values()
    shared = [*others, last.replace(default=timeout)]
    own = [one for one in inspect.signature(command).parameters.values() if one.name != "kubeflow"]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        command(kubeflow=Kubeflow(**{one.name: given.pop(one.name) for one in shared}), **given)

    # typer reads the signature and the annotations
    called.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in [*own, *shared]}
    return called
