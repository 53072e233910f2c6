"""Curves of a run during training."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import requests  # type: ignore[import-untyped]
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from i2i_unlearn.registry.tracking.connection import in_one_line, tracking_uri
from i2i_unlearn.registry.tracking.entities import CURVES
from i2i_unlearn.registry.tracking.server import RUN_VARIABLE, check_attached


def attached_stream() -> Callable[[Mapping[str, Any]], None] | None:
    """Log rows of steps.jsonl, as they are made, as curves of the run named by MLFLOW_RUN_ID; None if it is unset.

    A run that has ended, or does not exist, was left in the environment and is refused (UserError). The returned
    function never raises: training does not end because a server is down. After the first failure it says
    so once and logs no more; `register` adds the missing points.
    """
    run_id = os.environ.get(RUN_VARIABLE)
    client: MlflowClient | None = MlflowClient(tracking_uri=tracking_uri()) if run_id else None
    if client and run_id:
        with suppress(MlflowException, requests.RequestException):  # no answer: the first row says so
            check_attached(client, run_id)

    def stream(row: Mapping[str, Any]) -> None:
        nonlocal client
        if client is None or run_id is None:
            return
        now, step = int(time.time() * 1000), int(row["step"])
        values = {key: value for key, value in row.items() if key != "step" and isinstance(value, int | float)}
        try:
            client.log_batch(run_id, [Metric(CURVES + key, value, now, step) for key, value in values.items()])
        except (MlflowException, requests.RequestException) as error:
            client = None
            print(f"{in_one_line(tracking_uri(), error)}; training goes on without live curves", file=sys.stderr)

    return stream if run_id else None
