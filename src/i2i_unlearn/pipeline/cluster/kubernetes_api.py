"""Reach Kubernetes itself: for what Kubeflow Pipelines does not tell, such as the steps' logs.

From outside as kubectl does (KUBECONFIG or ~/.kube/config), in a pod with its service account.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.client.rest import RESTClientObject

from i2i_unlearn.pipeline.cluster.rest import (
    CONNECT_S,
    Refused,
    Unreachable,
    about_a_reply,
    is_object,
    kind_of,
    said_in,
)
from i2i_unlearn.support.errors import UserError

POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class _PatientRest(RESTClientObject):  # type: ignore[misc]  # untyped
    """Kubernetes' own HTTP client with limits, and with one line for what goes wrong."""

    def __init__(self, configuration: client.Configuration, timeout_s: float) -> None:
        configuration.retries = urllib3.Retry(
            total=None, connect=1, read=1, redirect=False, status=0, other=0, backoff_factor=0.5
        )
        super().__init__(configuration)
        self.host = configuration.host
        self.timeout_s = timeout_s

    def request(self, method: str, url: str, **how: Any) -> Any:
        """Send; what is no log must come back as a JSON object."""
        how["_request_timeout"] = (min(CONNECT_S, self.timeout_s), self.timeout_s)
        where = f"Kubernetes at {self.host}"
        try:
            reply = super().request(method, url, **how)
        except ApiException as error:
            raise self._of_status(error) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            cause = getattr(error, "reason", None) or error
            words = " ".join(str(cause).split())
            if isinstance(cause, urllib3.exceptions.SSLError) or "CERTIFICATE" in words:
                raise Unreachable(
                    f"{where}: the secure connection failed; correct certificate-authority in the kubeconfig"
                ) from None
            if isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
                raise Unreachable(f"{where} cannot be reached; correct the kubeconfig's context") from None
            if isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError):
                raise Unreachable(f"{where} gave no answer in {self.timeout_s:g} s; try again") from None
            raise Unreachable(f"{where}: the connection was lost ({type(cause).__name__}); try again") from None
        except ValueError:  # its message would hold the header with the token
            raise UserError("the kubeconfig's token is not a single line of plain characters; correct it") from None
        if how.get("_preload_content", True) and not url.endswith("/log") and not is_object(_bytes(reply.data)):
            raise Unreachable(
                f"{where} sent {kind_of(_bytes(reply.data))} where JSON was expected; correct the kubeconfig"
            )
        return reply

    def _of_status(self, error: ApiException) -> UserError:
        where, status = f"Kubernetes at {self.host}", error.status or 0
        said = said_in(error.body)
        if status == 0:
            return Unreachable(f"{where}: the connection failed; correct the kubeconfig")
        if status == 401:
            return Refused(f"{where} does not accept the login (401{said}); log in again", status)
        if status == 403:
            return Refused(f"{where} forbids this (403{said}); ask for the right in that namespace", status)
        if status == 404:
            return Refused(f"{where} has no such thing (404{said})", status)
        return Refused(f"{where} {'failed' if status >= 500 else 'refuses'} ({status}{said})", status)


class Kubernetes:
    """The API, and the namespace that is meant."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.api = api
        self.core = client.CoreV1Api(api)
        self.namespace = namespace
        self.host = str(api.configuration.host)


@contextlib.contextmanager
def connect(namespace: str = "", timeout_s: float = 30.0) -> Iterator[Kubernetes]:
    """Talk to Kubernetes; `namespace` empty: that of the kubeconfig's context, or of the pod.

    Raises:
        UserError: nothing says where it is, it cannot be reached, or refuses what is asked.
    """
    configuration, usual = _configured()
    api = client.ApiClient(configuration)
    api.rest_client = _PatientRest(configuration, timeout_s)
    try:
        yield Kubernetes(api, namespace or usual or "default")
    except Exception as error:
        if isinstance(error, UserError) or not about_a_reply(error, "kubernetes"):
            raise
        words = " ".join(str(getattr(error, "reason", None) or error).split())[:400]
        raise Unreachable(f"Kubernetes at {configuration.host}: the client cannot read its answer ({words})") from error


def _configured() -> tuple[client.Configuration, str]:
    configuration = client.Configuration()
    files = os.environ.get("KUBECONFIG") or config.KUBE_CONFIG_DEFAULT_LOCATION
    there = [path for path in files.split(os.pathsep) if Path(path).expanduser().is_file()]
    try:
        if there:
            config.load_kube_config(config_file=files, client_configuration=configuration)
            _, active = config.list_kube_config_contexts(config_file=files)
            return configuration, active["context"].get("namespace", "")
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=configuration)
            return configuration, POD_NAMESPACE.read_text().strip() if POD_NAMESPACE.is_file() else ""
    except yaml.YAMLError:
        raise UserError(f"{files}: cannot be used (not valid YAML); correct the kubeconfig or set KUBECONFIG") from None
    except (config.ConfigException, KeyError, TypeError, ValueError, OSError) as error:
        words = re.sub(r"(token|password|data): \S+", r"\1: ...", " ".join(str(error).split()))[:200]
        raise UserError(f"{files}: cannot be used ({words}); correct the kubeconfig or set KUBECONFIG") from None
    raise UserError(f"no Kubernetes configuration found ({files} does not exist); set KUBECONFIG")


def _bytes(data: Any) -> bytes:
    return data if isinstance(data, bytes) else str(data or "").encode()
