"""Reach MLflow; what it refuses or cannot do becomes one line."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests  # type: ignore[import-untyped]
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from i2i_unlearn.errors import UserError
from i2i_unlearn.tracking.entities import DEFAULT_DATABASE
from i2i_unlearn.tracking.server import Server


@contextmanager
def connect() -> Iterator[Server]:
    """Talk to MLflow; what it refuses or cannot do becomes one line.

    Raises:
        UserError: MLflow cannot be reached, or refuses what is asked.
    """
    uri = tracking_uri()
    try:
        yield Server(MlflowClient(tracking_uri=uri), uri)
    except (MlflowException, requests.RequestException) as error:
        raise UserError(in_one_line(uri, error)) from error


def tracking_uri() -> str:
    """Where MLflow is."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(DEFAULT_DATABASE).resolve()}"


def in_one_line(uri: str, error: Exception) -> str:
    """What went wrong, without passwords."""
    reason = " ".join(str(error).split())
    uri = re.sub(r"//[^/@]*@", "//", uri)  # a password may stand there
    if "API request to" in reason and ("failed with exception" in reason or "failed with timeout" in reason):
        cause = "no answer" if "timeout" in reason else "no connection"
        return f"MLflow at {uri} cannot be reached ({cause}); start the server or correct MLFLOW_TRACKING_URI"
    if re.search(r"code 40[13]\b|UNAUTHENTICATED|PERMISSION_DENIED", reason):
        return f"MLflow at {uri} refuses access; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD or a token"
    return f"MLflow at {uri}: {reason[:400]}"
