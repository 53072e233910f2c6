"""Connect to MLflow; its failures become one line.

MLflow itself retries a failed request three times, after 0, 2 and 4 s (MLFLOW_HTTP_REQUEST_MAX_RETRIES,
MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR). If only the answer was lost, the request is carried out twice, so everything that
creates something checks afterwards whether it exists twice (`Server`, `Record`).
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from mlflow import __version__ as installed

from i2i_unlearn.registry.tracking.client import Client
from i2i_unlearn.registry.tracking.entities import DEFAULT_DATABASE
from i2i_unlearn.registry.tracking.moved import follow
from i2i_unlearn.registry.tracking.new_database import create_whole
from i2i_unlearn.registry.tracking.server import Server
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import is_disk_full

FOREIGN = {"mlflow", "requests", "urllib3", "botocore", "boto3", "s3transfer", "sqlalchemy", "sqlite3", "psycopg2"}
"""Packages whose exceptions are about MLflow, its database or its artifact store, not about this program."""
DATABASE_TRIES = 3


@contextmanager
def connect(uri: str = "") -> Iterator[Server]:
    """Talk to MLflow at `uri` (empty: as the environment says); its failures become one line.

    Raises:
        UserError: MLflow cannot be reached, or refuses what is asked.
    """
    with _made_the_default(uri):
        uri = tracking_uri()
        _check_scheme(uri)
        _check_one_registry(uri)
        _check_rights(uri)
        try:
            if uri.startswith("sqlite:///"):
                database = Path(uri.removeprefix("sqlite:///"))
                create_whole(database)
                follow(database)
            _reach_database(uri)
            yield Server(Client(tracking_uri=uri, registry_uri=uri), uri)
        except ModuleNotFoundError as error:
            raise UserError(
                f"MLflow at {public(uri)} needs a package that is not installed ({error}); install it"
            ) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in FOREIGN:
                raise
            raise UserError(in_one_line(uri, error)) from error


@contextmanager
def _made_the_default(uri: str) -> Iterator[None]:
    """MLflow's database store asks the default store for logged models, whichever client it belongs to."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        yield
    finally:
        if uri and before is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        elif uri and before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def tracking_uri() -> str:
    """Where MLflow is."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(DEFAULT_DATABASE).resolve()}"


def public(uri: str) -> str:
    """The address without user name and password."""
    return re.sub(r"//[^/@\s]*@", "//", uri)


def _check_scheme(uri: str) -> None:
    """MLflow takes 127.0.0.1:5000 for a folder, and localhost:5000 for an unknown kind of store."""
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", uri):
        raise UserError(f"MLFLOW_TRACKING_URI={uri} is not an address; write http://{uri} or https://{uri}")


def _check_one_registry(uri: str) -> None:
    """Runs and versions of a project are in one place."""
    if (other := os.environ.get("MLFLOW_REGISTRY_URI")) and other != uri:
        raise UserError(
            f"MLFLOW_REGISTRY_URI={public(other)} names another registry than the one this project uses "
            f"({public(uri)}: MLFLOW_TRACKING_URI, or mlflow.db in this folder); unset MLFLOW_REGISTRY_URI"
        )


def _check_rights(uri: str) -> None:
    """Somebody who may only read the file can list requests; see `in_one_line` for who wants to write."""
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and path.exists() and not os.access(path, os.R_OK):
        raise UserError(_not_allowed(path, "read"))


def _not_allowed(path: Path, what: str) -> str:
    return (
        f"{path}: belongs to {_owner(path)}, and this user may not {what} it; get access to it and to its folder, or "
        "run the command as that user"
    )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError):  # a container knows no name of it
        return "another user"


def _reach_database(uri: str) -> None:
    """Ask a database server for a connection: MLflow itself would try for minutes and log a page per try."""
    if not re.match(r"(postgresql|mysql|mssql)\b", uri):
        return
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError

    for wait_s in (*(2**number for number in range(DATABASE_TRIES)), None):
        engine = create_engine(uri)
        try:
            engine.connect().close()
            return
        except OperationalError:
            if wait_s is None:
                raise
            time.sleep(wait_s)
        finally:
            engine.dispose()


def in_one_line(uri: str, error: Exception) -> str:
    """What went wrong, without passwords."""
    if "Failed to get logged model with ID" in str(error) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # MLflow reports any failure, even a lost connection, as a missing permission
    reason = public(" ".join(str(error).split()))
    uri = public(uri)
    if re.search(
        r"SSLError|CERTIFICATE_VERIFY_FAILED|TLS CA certificate bundle|TLSV1_ALERT|TLS certificate file", reason
    ):
        return (
            f"MLflow at {uri}: the secure connection was refused ({_of_tls(reason)}); correct "
            "MLFLOW_TRACKING_SERVER_CERT_PATH and, if the server asks for one, MLFLOW_TRACKING_CLIENT_CERT_PATH"
        )
    if "API request to" in reason and ("failed with exception" in reason or "failed with timeout" in reason):
        cause = "no answer" if "timeout" in reason else "no connection"
        if again := re.search(r"too many (\d{3}) error responses", reason):
            cause = f"it keeps answering with error {again[1]}"
        return f"MLflow at {uri} cannot be reached ({cause}); start the server or correct MLFLOW_TRACKING_URI"
    if "Invalid Host header" in reason:
        return (
            f"MLflow at {uri} does not answer to this host name; use one it knows (on a port-forward http://localhost:"
            "PORT), or add this one to MLFLOW_SERVER_ALLOWED_HOSTS of the server"
        )
    if "database is locked" in reason:
        return (
            f"MLflow's database at {uri} is locked by another process, such as `mlflow ui` or another command, or lies "
            "on a network file system, where SQLite cannot lock; wait for the process or end it, then run this again"
        )
    if re.search(r"\bcode 40[13]\b|\b40[13] Client Error|UNAUTHENTICATED|PERMISSION_DENIED", reason):
        return f"MLflow at {uri} refuses access; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or a token"
    if type(error).__module__.partition(".")[0] in ("requests", "urllib3"):
        return f"MLflow at {uri}: the connection was lost ({type(error).__name__}); run the same command again"
    if found := re.search(r"Can't locate revision identified by '(\w+)'|schema \(found version (\w+)", reason):
        return _of_schema(uri, found[1] or found[2])
    if "readonly database" in reason and uri.startswith("sqlite:///"):
        return _not_allowed(Path(uri.removeprefix("sqlite:///")), "write")
    if is_disk_full(error):
        return f"MLflow at {uri}: the disk is full; free some space and run the same command again"
    if type(error).__name__ == "OperationalError":
        return f"MLflow's database at {uri} cannot be reached; start it or correct MLFLOW_TRACKING_URI"
    return f"MLflow at {uri}: {reason[:400]}"


def _of_schema(uri: str, found: str) -> str:
    """MLflow knows the schemas before its own: one that it does not know is newer. It says the same of both."""
    migrations = Path(str(import_module("mlflow.store.db_migrations").__path__[0])) / "versions"
    if any(migrations.glob(f"{found}_*.py")):
        return f"MLflow's database at {uri} has an older schema; take a backup, then run: mlflow db upgrade {uri}"
    return (
        f"MLflow's database at {uri} was last opened by a newer MLflow than the {installed} installed here, which "
        "changed it for good; install that version (pip install --upgrade mlflow), or restore a backup"
    )


def _of_tls(reason: str) -> str:
    found = re.search(r"certificate verify failed: [^()\[\]']+|invalid path: \S+|alert [a-z ]+", reason, re.IGNORECASE)
    return found[0].strip() if found else "TLS"
