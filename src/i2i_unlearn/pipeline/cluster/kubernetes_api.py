"""Reach Kubernetes itself: for what Kubeflow Pipelines does not tell, such as the steps' logs.

From outside as kubectl does (KUBECONFIG or ~/.kube/config), in a pod with its service account.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.client.rest import RESTClientObject

from i2i_unlearn.pipeline.cluster.rest import PatientRest, Refused, Unreachable, only_of_replies, public, said_in
from i2i_unlearn.support.errors import UserError

POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class _KubernetesRest(PatientRest, RESTClientObject):  # type: ignore[misc]  # untyped
    """Kubernetes' own HTTP client with limits."""

    service, api_exception, reconnects = "Kubernetes", ApiException, 1
    token_source = "the kubeconfig's token"
    not_json = "correct the kubeconfig"

    def _of_connection(self, cause: Exception, words: str, method: str) -> str:
        if isinstance(cause, urllib3.exceptions.SSLError) or "CERTIFICATE" in words:
            return f"{self.where}: the secure connection failed; correct certificate-authority in the kubeconfig"
        if isinstance(cause, urllib3.exceptions.ProxyError):
            proxy = public(str(self._configuration.proxy))
            return (
                f"{self.where}: its proxy {proxy} fails; correct proxy-url in the kubeconfig, or HTTPS_PROXY, NO_PROXY"
            )
        if isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
            return f"{self.where} cannot be reached; correct the kubeconfig's context"
        if isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError):
            return f"{self.where} gave no answer in {self.timeout_s:g} s; try again"
        return f"{self.where}: the connection was lost ({type(cause).__name__}); try again"

    def _of_status(self, error: ApiException, method: str) -> UserError:
        where, status = self.where, error.status or 0
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
    api.rest_client = _KubernetesRest(configuration, timeout_s)
    with only_of_replies("kubernetes", f"{api.rest_client.where}: the client cannot read its answer ({{words}})"):
        yield Kubernetes(api, namespace or usual or "default")


def _proxy_of(files: str, cluster: str) -> str:
    """The key proxy-url of a cluster, which the client of Kubernetes does not read; empty without one."""
    found = config.kube_config.KubeConfigMerger(files).config["clusters"].get_with_name(cluster)["cluster"]
    return str(found.safe_get("proxy-url") or "")


def _use_proxy(configuration: client.Configuration, proxy: str) -> None:
    """That of the kubeconfig, else the environment's, as kubectl does.

    Raises:
        UserError: urllib3 cannot use it.
    """
    address = urllib3.util.parse_url(configuration.host)
    of_environment = "" if proxy_bypass(str(address.host)) else getproxies().get(str(address.scheme), "")
    configuration.proxy = proxy or of_environment or None
    if proxy and not proxy.startswith(("http://", "https://")):
        raise UserError(
            f"proxy-url {public(proxy)!r} in the kubeconfig: only http:// and https:// are supported; name such a proxy"
        )


def _configured() -> tuple[client.Configuration, str]:
    configuration = client.Configuration()
    files = os.environ.get("KUBECONFIG") or config.KUBE_CONFIG_DEFAULT_LOCATION
    there = [path for path in files.split(os.pathsep) if Path(path).expanduser().is_file()]
    try:
        if there:
            config.load_kube_config(config_file=files, client_configuration=configuration)
            _, active = config.list_kube_config_contexts(config_file=files)
            _use_proxy(configuration, _proxy_of(files, active["context"]["cluster"]))
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
