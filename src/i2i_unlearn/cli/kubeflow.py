"""Options of every command that talks to Kubeflow Pipelines, declared once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from i2i_unlearn.pipeline.cluster.connect import Where

Host = Annotated[
    str,
    typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="Address of Kubeflow Pipelines; in a pod: Kubeflow's usual one."),
]
Namespace = Annotated[
    str, typer.Option(envvar="I2I_UNLEARN_NAMESPACE", help="Your namespace, where Kubeflow keeps users apart.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="KF_PIPELINES_TOKEN_FILE",
        help="File with the token, read anew each time. Default: variable KF_PIPELINES_TOKEN, or the pod's own.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(envvar="KF_PIPELINES_CA_FILE", help="Authority (PEM) that signed the server's certificate."),
]
VerifyTls = Annotated[
    bool,
    typer.Option("--verify-tls/--no-verify-tls", help="Check the server's certificate; not checking is for tests."),
]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds that an answer may take.")]
TIMEOUT_S = 30.0

RunId = Annotated[str, typer.Argument(help="Id of the run, as `pipeline submit` and `pipeline list` print it.")]
Param = Annotated[list[str] | None, typer.Option(help="A field of the run form as key=value; may be repeated.")]
Package = Annotated[Path, typer.Option(help="Compiled pipeline; nothing else is needed.")]
Experiment = Annotated[str, typer.Option(help="Kubeflow's experiment: the group that its pages show the run in.")]
ServiceAccount = Annotated[
    str, typer.Option(help="Account that the pods run as, for example i2i-unlearn-runner; default: Kubeflow's choice.")
]
EXPERIMENT = "i2i-unlearn"


def where(
    host: str, namespace: str, token_file: Path | None, ca_file: Path | None, verify_tls: bool, timeout: float
) -> "Where":
    """The options together.

    Raises:
        UserError: kfp is not installed.
    """
    from i2i_unlearn.pipeline.cluster.connect import Where

    return Where(
        host=host,
        namespace=namespace,
        token_file=token_file,
        ca_file=ca_file,
        verify_tls=verify_tls,
        timeout_s=timeout,
    )
