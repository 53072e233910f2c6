"""MLflow's client, for the case that several write the same thing at the same moment."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

_P = ParamSpec("_P")
COLLISIONS = ("IntegrityError", "UniqueViolation")
"""What SQLite and PostgreSQL call the error of the second of two rows inserted at the same moment."""


def _twice(request: Callable[_P, object]) -> Callable[_P, None]:
    @wraps(request)
    def asked(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            request(*args, **kwargs)
        except MlflowException as error:
            if not any(name in str(error) for name in COLLISIONS):
                raise
            request(*args, **kwargs)

    return asked


class Client(MlflowClient):
    """Asks a second time if MLflow's database refuses a row because another process just inserted it.

    MLflow checks whether a row exists and inserts it if not; of two that check at the same moment, the later gets an
    error that MLflow does not retry. The second time it finds the row. All of these calls can safely be repeated.
    """

    log_batch = _twice(MlflowClient.log_batch)
    set_tag = _twice(MlflowClient.set_tag)
    log_inputs = _twice(MlflowClient.log_inputs)
    set_model_version_tag = _twice(MlflowClient.set_model_version_tag)
    set_registered_model_alias = _twice(MlflowClient.set_registered_model_alias)
