"""MLflow's client, for the case that several write the same thing at the same moment."""

from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

COLLISIONS = ("IntegrityError", "UniqueViolation")
"""What SQLite and PostgreSQL call the error of the second of two rows inserted at the same moment."""


class Client(MlflowClient):
    """Asks a second time if MLflow's database refuses a row because another process just inserted it.

    MLflow checks whether a row exists and inserts it if not; of two that check at the same moment, the later gets an
    error that MLflow does not retry. The second time it finds the row. All of these calls can safely be repeated.
    """

    def log_batch(self, *args: Any, **kwargs: Any) -> None:
        """Log metrics, parameters and tags of a run."""
        _twice(super().log_batch, *args, **kwargs)

    def set_tag(self, *args: Any, **kwargs: Any) -> None:
        """Set a tag of a run."""
        _twice(super().set_tag, *args, **kwargs)

    def log_inputs(self, *args: Any, **kwargs: Any) -> None:
        """Record which data sets and logged models a run started from."""
        _twice(super().log_inputs, *args, **kwargs)

    def set_model_version_tag(self, *args: Any, **kwargs: Any) -> None:
        """Set a tag of a version."""
        _twice(super().set_model_version_tag, *args, **kwargs)

    def set_registered_model_alias(self, *args: Any, **kwargs: Any) -> None:
        """Give an alias to a version."""
        _twice(super().set_registered_model_alias, *args, **kwargs)


def _twice(request: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    try:
        request(*args, **kwargs)
    except MlflowException as error:
        if not any(name in str(error) for name in COLLISIONS):
            raise
        request(*args, **kwargs)
