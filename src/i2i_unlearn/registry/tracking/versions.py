"""Versions of MLflow: installed here, and of a server."""

import re
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

CLIENT: str = mlflow.__version__


def server_version(uri: str, timeout_s: float) -> str:
    """The version that the server at an http(s) address reports; empty if it reports none."""
    ask: Any = http_request  # untyped
    credentials: Any = get_default_host_creds
    try:
        reply = ask(credentials(uri), "/version", "GET", timeout=timeout_s, max_retries=0)
    except MlflowException:
        return ""
    text = str(reply.text).strip()
    return text if reply.status_code == 200 and re.fullmatch(r"\d+\.\d+[\w.+]*", text) else ""
