"""Reach Kubeflow Pipelines: where it is, who is asking, and how the connection is made safe."""

import contextlib
import io
import json
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp
from kfp.client import KF_PIPELINES_SA_TOKEN_PATH, ServiceAccountTokenVolumeCredentials
from kfp_server_api import V2beta1GetHealthzResponse

from i2i_unlearn.pipeline.cluster.rest import KubeflowRest, only_of_replies, public
from i2i_unlearn.support.errors import UserError

IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
"""Where Kubeflow's own manifests put the API, as seen from a pod."""
TOKEN = "KF_PIPELINES_TOKEN"
"""Environment variable with the token itself. It is not an option, since other users can see a command line."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """What it takes to reach Kubeflow Pipelines."""

    host: str = ""
    """Address of the API; empty inside a cluster: Kubeflow's usual one."""
    namespace: str = ""
    """Namespace of the user (profile); empty where Kubeflow does not separate users."""
    token_file: Path | None = None
    """Read again for every request, since the kubelet renews it. None: the variable TOKEN, or the pod's own token."""
    ca_file: Path | None = None
    """Certificate (PEM) of the authority that signed the server's; None: the well-known authorities."""
    verify_tls: bool = True
    timeout_s: float = 30.0
    """Maximum time to wait for an answer, in seconds."""


class _Client(kfp.Client):  # type: ignore[misc]  # untyped
    def get_kfp_healthz(self, sleep_duration: int = 0) -> V2beta1GetHealthzResponse:
        """Not asked while the client is made: kfp would try five times without a time limit, a traceback each."""
        return V2beta1GetHealthzResponse(multi_user=False)


class Pipelines:
    """The API as this project uses it: kfp's client with time limits, and links for people."""

    def __init__(self, client: kfp.Client, where: Where, host: str) -> None:
        self.client = client
        self.namespace = where.namespace or None
        self.host = public(host)
        """To be shown, without user name and password."""
        self.pages = public(os.environ.get("KF_PIPELINES_UI_ENDPOINT") or host).rstrip("/")
        """Address of the pages for people, likewise."""

    def run_link(self, run_id: str) -> str:
        """Where a person sees the run."""
        return f"{self.pages}/#/runs/details/{run_id}"

    def version_link(self, pipeline_id: str, version_id: str) -> str:
        """Where a person sees a version of a pipeline, and starts it."""
        return f"{self.pages}/#/pipelines/details/{pipeline_id}/version/{version_id}"

    def recurring_link(self, recurring_id: str) -> str:
        """Where a person sees a recurring run, and switches it off."""
        return f"{self.pages}/#/recurringrun/details/{recurring_id}"

    def health(self) -> Any:
        """What the API reports about itself."""
        return self.client._healthz_api.healthz_service_get_healthz()


def called(name: str) -> str:
    """A filter for what has this name, as the API takes it."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


@contextlib.contextmanager
def connect(where: Where) -> Iterator[Pipelines]:
    """Talk to Kubeflow Pipelines; what it refuses or cannot do becomes one line.

    Raises:
        UserError: it cannot be reached, refuses what is asked, or answers with what its client cannot read.
    """
    host = _host(where.host)
    told = f"kfp {kfp.__version__} cannot read its answer or a setting ({{words}}); compare the versions with"
    with only_of_replies("kfp", f"Kubeflow Pipelines at {public(host)}: {told} `i2i-unlearn doctor`"):
        yield Pipelines(_client(where, host), where, host)


def _client(where: Where, host: str) -> kfp.Client:
    credentials = _credentials(where.token_file)
    if where.ca_file is not None and not where.ca_file.is_file():
        raise UserError(f"{where.ca_file}: no such file; name the authority's certificate (PEM) with --ca-file")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # that it works with version 2 only
        client = _Client(
            host=host,
            namespace=where.namespace or "kubeflow",  # kfp's word for none
            existing_token=None if credentials else _token_of_the_environment(),
            credentials=credentials,
            ssl_ca_cert=str(where.ca_file) if where.ca_file else None,
            verify_ssl=where.verify_tls,
        )
    api_client = client._run_api.api_client  # all its services share this one
    if not where.verify_tls:
        warnings.filterwarnings("ignore", module="urllib3")  # it says so for each request
    try:
        api_client.rest_client = KubeflowRest(api_client.configuration, where.timeout_s)
    except OSError as error:  # TLS's own words name no file
        raise UserError(f"{where.ca_file}: not a certificate ({error.strerror or error}); correct --ca-file") from None
    return client


def _host(given: str) -> str:
    host = given or os.environ.get("KF_PIPELINES_ENDPOINT", "")
    if not host and os.environ.get("KUBERNETES_SERVICE_HOST"):
        host = IN_CLUSTER
    if not host:
        raise UserError(
            "no address of Kubeflow Pipelines found; forward a port (kubectl -n kubeflow port-forward "
            "svc/ml-pipeline-ui 8080:80) and pass --host http://127.0.0.1:8080, or set KF_PIPELINES_ENDPOINT"
        )
    if not re.match(r"https?://[^/\s]+", host):
        raise UserError(
            f"--host {public(host)!r} is not an address; write for example https://kubeflow.example.com/pipeline"
        )
    return host.rstrip("/")


def _credentials(token_file: Path | None) -> ServiceAccountTokenVolumeCredentials | None:
    """Those of a file; without one, and without a token in the environment, those of the pod this runs in."""
    path = token_file
    if path is None and not os.environ.get(TOKEN):
        usual = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or KF_PIPELINES_SA_TOKEN_PATH)
        path = usual if usual.is_file() else None
    if path is None:
        return None
    try:
        token = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name the token's file with --token-file") from None
    _one_word(token.strip(), str(path))
    return ServiceAccountTokenVolumeCredentials(str(path))


def _token_of_the_environment() -> str | None:
    token = os.environ.get(TOKEN, "").strip()
    if token:
        _one_word(token.encode(errors="surrogateescape"), TOKEN)
    return token or None


def _one_word(token: bytes, source: str) -> None:
    """Raise UserError, without the token, unless a header can hold it."""
    if not re.fullmatch(rb"[\x21-\x7e]+", token):
        found = "nothing" if not token else "more than one line of plain characters"
        raise UserError(f"{source}: holds {found} instead of a token; put only the token there")
