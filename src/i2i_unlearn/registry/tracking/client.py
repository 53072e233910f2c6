"""MLflow's client, for the case that several write the same thing at the same moment."""

import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

_P = ParamSpec("_P")
COLLISIONS = ("IntegrityError", "UniqueViolation")
"""What SQLite and PostgreSQL call the error of the second of two rows inserted at the same moment."""


TRIES = 10


def _again(request: Callable[_P, object]) -> Callable[_P, None]:
    @wraps(request)
    def asked(*args: _P.args, **kwargs: _P.kwargs) -> None:
        for number in range(1, TRIES + 1):
            try:
                request(*args, **kwargs)
            except MlflowException as error:
                if number == TRIES or not any(name in str(error) for name in COLLISIONS):
                    raise
                time.sleep(0.05 * number)
            else:
                return

    return asked


class Client(MlflowClient):
    """Asks again if MLflow's database refuses a row because another process just inserted it.

    MLflow checks whether a row exists and inserts it if not; of two that check at the same moment, the later gets an
    error that MLflow does not retry. The next time it finds the row, but where several processes insert many rows it
    may meet another's next one. All of these calls can safely be repeated.
    """

    log_batch = _again(MlflowClient.log_batch)
    set_tag = _again(MlflowClient.set_tag)
    log_inputs = _again(MlflowClient.log_inputs)
    set_model_version_tag = _again(MlflowClient.set_model_version_tag)
    set_registered_model_alias = _again(MlflowClient.set_registered_model_alias)
