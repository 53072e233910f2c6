"""MLflow: whether it answers, lets us in, and speaks the client's version."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from i2i_unlearn.cli.doctor_checks.base import Check, Line, numbers
from i2i_unlearn.registry.project_registry import DATABASE
from i2i_unlearn.support.errors import UserError

NAME = "mlflow"


def mlflow_server(timeout_s: float) -> Check:
    """The server that the environment names, or the file in the working folder."""

    def check() -> Iterator[Line]:
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / DATABASE}"
        if uri.startswith("sqlite:///"):
            yield database(Path(uri.removeprefix("sqlite:///")))
            return
        try:
            from i2i_unlearn.registry import tracking
        except UserError as error:
            yield Line(NAME, "warn", str(error), "")
            return
        where = tracking.public(uri)
        try:
            with _limits(timeout_s), tracking.connect() as server:
                server.client.search_experiments(max_results=1)
        except UserError as error:
            yield Line(NAME, "fail", str(error), "see docs/mlflow.md")
            return
        if not uri.startswith(("http://", "https://")):
            yield Line(NAME, "ok", f"{where} answers")
            return
        yield Line(NAME, "ok", f"{where} answers")
        from i2i_unlearn.registry.tracking.versions import CLIENT, server_version

        yield version(server_version(uri, timeout_s), CLIENT)

    return check


def database(path: Path) -> Line:
    """MLflow's own file, opened without MLflow, which takes ten seconds to import."""
    if not path.exists():
        advice = "set MLFLOW_TRACKING_URI if there is a server"
        return Line(NAME, "ok", f"no server is named; {path} is created by the first registration", advice)
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            ((damage,),) = connection.execute("PRAGMA quick_check(1)")
            ((versions,),) = connection.execute("SELECT count(*) FROM model_versions")
    except sqlite3.Error as error:
        damage = str(error)
    if damage != "ok":
        return Line(NAME, "fail", f"{path} is no database of MLflow, or damaged: {damage}", "restore its backup")
    return Line(NAME, "ok", f"{path} with {versions} registered versions", "i2i-unlearn registry check looks into them")


def version(server: str, client: str) -> Line:
    """Client and server should be of the same minor version; `server` empty: it does not report one."""
    name = f"{NAME} version"
    if not server:
        return Line(
            name, "warn", f"the server does not report its version; the client's is {client}", "compare them by hand"
        )
    ours, theirs = numbers(client), numbers(server)
    found = f"server {server}, client {client}"
    if ours[:2] == theirs[:2]:
        return Line(name, "ok", found)
    if ours[:1] != theirs[:1] or theirs < (3, 5):
        return Line(name, "fail", found, f"use a server of version {client}; logged models need 3.5 at least")
    if theirs < ours:
        return Line(name, "warn", found, "upgrade the server first, then its clients")
    return Line(name, "ok", f"{found}: newer servers serve older clients")


@contextmanager
def _limits(timeout_s: float) -> Iterator[None]:
    """MLflow's own limits make a user wait for minutes."""
    limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(timeout_s))), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update(limits)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
