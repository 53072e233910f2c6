"""MLflow's client where several write the same thing at the same moment."""

from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

COLLISIONS = ("IntegrityError", "UniqueViolation")
"""How SQLite and PostgreSQL name the second of two rows that were inserted at the same moment."""


class Client(MlflowClient):
    """Asks a second time where MLflow's database refuses a row because somebody else was as fast.

    MLflow looks whether a row is there and inserts it if not; of two that look at the same moment the later is refused
    with an error that no retry of MLflow's covers. The second time it finds the row. All of this may be done twice.
    """

    def log_batch(self, *args: Any, **kwargs: Any) -> None:
        """Log metrics, parameters and tags of a run."""
        _twice(super().log_batch, *args, **kwargs)

    def set_tag(self, *args: Any, **kwargs: Any) -> None:
        """Set a tag of a run."""
        _twice(super().set_tag, *args, **kwargs)

    def log_inputs(self, *args: Any, **kwargs: Any) -> None:
        """Tell which data sets and logged models a run started from."""
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
