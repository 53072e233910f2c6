"""What a served version answers to a request that is wrong."""

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE


class BadInput(MlflowException):  # noqa: N818  MLflow's serving makes an answer of it
    """What was sent to a served model is wrong: HTTP status 400, and one line that says what."""

    def __init__(self, line: str) -> None:
        super().__init__(line, error_code=INVALID_PARAMETER_VALUE)
        self._line = line

    def serialize_as_json(self) -> str:
        """The answer's body. MLflow's server has put what was sent before the message; the caller knows it."""
        self.message = self._line
        return str(super().serialize_as_json())  # type: ignore[no-untyped-call]
