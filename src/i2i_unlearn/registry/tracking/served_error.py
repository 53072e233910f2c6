"""What a served version answers to an invalid request."""

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE


class BadInput(MlflowException):  # noqa: N818  MLflow's server turns it into an answer
    """The request to a served model is invalid: HTTP status 400, and one line that says why."""

    def __init__(self, line: str) -> None:
        super().__init__(line, error_code=INVALID_PARAMETER_VALUE)
        self._line = line

    def serialize_as_json(self) -> str:
        """The answer's body, without the request that MLflow's server puts before the message."""
        self.message = self._line
        return str(super().serialize_as_json())  # type: ignore[no-untyped-call]
