"""MLflow: runs, registered versions and their aliases. The only package that imports mlflow.

Where: MLFLOW_TRACKING_URI; unset, the file mlflow.db in the current folder with artifacts in ./mlflow-artifacts.
Logging is idempotent: what a run already holds is not logged again, so a killed registration can be repeated.
"""

import logging
import os

from i2i_unlearn.support.errors import UserError

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # else a new database logs each of its migrations
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"  # a uv.lock in the working folder says nothing about a registered model
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# With MLflow's defaults a user waits for minutes when the server is down; here 1 + 2 + 4 s.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
try:
    from mlflow.models import set_model
    from mlflow.pyfunc.model import PythonModel
except ModuleNotFoundError as error:
    raise UserError(f"MLflow is not installed ({error}); run: pip install 'i2i-unlearn[mlflow]'") from None
from i2i_unlearn.registry.tracking.connection import connect, public
from i2i_unlearn.registry.tracking.copies import give, take
from i2i_unlearn.registry.tracking.entities import (
    ACCEPTED,
    CANDIDATE,
    CHAMPION,
    CURVES,
    DEFAULT_ARTIFACTS,
    DEFAULT_DATABASE,
    FURTHER,
    MODEL_PATH,
    MOST_POINTS,
    MOST_TAG,
    PROMOTED,
    Logged,
    Served,
    Version,
    names,
)
from i2i_unlearn.registry.tracking.fetch import download_checked, fetch_if_there, fetch_version
from i2i_unlearn.registry.tracking.record import Record
from i2i_unlearn.registry.tracking.served_error import BadInput
from i2i_unlearn.registry.tracking.server import Server
from i2i_unlearn.registry.tracking.stream import attached_stream

__all__ = [
    "CANDIDATE",
    "CHAMPION",
    "CURVES",
    "DEFAULT_ARTIFACTS",
    "DEFAULT_DATABASE",
    "FURTHER",
    "MODEL_PATH",
    "MOST_POINTS",
    "ACCEPTED",
    "MOST_TAG",
    "PROMOTED",
    "BadInput",
    "Logged",
    "PythonModel",
    "Record",
    "Served",
    "Server",
    "Version",
    "attached_stream",
    "connect",
    "download_checked",
    "fetch_if_there",
    "fetch_version",
    "give",
    "names",
    "public",
    "set_model",
    "take",
]

for _name in ("alembic", "mlflow"):  # also where somebody imported mlflow before us
    logging.getLogger(_name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])
# MLflow logs a full traceback here; `in_one_line` reports the cause.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
