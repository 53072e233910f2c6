"""Which MLflow this project uses: the one that holds the champion of its promotion ledger. Any other is refused.

An address proves nothing: the variable is missing in one shell, a server got another name, a copy of the database is
opened, a backup was restored. So the registry is asked for the version that the ledger says is champion, with the same
weights. A project that has promoted nothing yet uses the registry it is given.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from i2i_unlearn.registry import history
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import UserError

if TYPE_CHECKING:  # importing MLflow takes seconds
    from i2i_unlearn.registry import tracking

DATABASE = "mlflow.db"
RESTORE = "give it back with `i2i-unlearn registry restore --by NAME --reason TEXT`"


def is_named() -> bool:
    """Whether anything can have been registered from here; connecting would create a database."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or Path(DATABASE).exists()


@contextmanager
def connect(record: str | Path, model_name: str, uri: str = "") -> Iterator["tracking.Server"]:
    """`tracking.connect`, after checking that this is the registry of the promotion ledger `record` (empty: no ledger).

    Raises:
        UserError: as `tracking.connect`; or it is another registry.
    """
    last = history.last_champion(ledger.read(record), model_name) if record else None
    if last and not (uri or is_named()):
        raise UserError(f"MLFLOW_TRACKING_URI is not set and there is no {DATABASE} here; {_expected(record, last)}")
    from i2i_unlearn.registry import tracking

    with tracking.connect(uri) as server:
        if last and (why := foreign(server, record, last)):
            raise UserError(why)
        yield server


def foreign(server: "tracking.Server", record: str | Path, last: history.Move) -> str:
    """Why `server` is not the registry of the ledger whose newest move is `last`; empty if it is."""
    from i2i_unlearn.registry import tracking

    name, sha256 = last.record["model_name"], last.record.get("model_sha256", "")
    where = f"MLflow at {tracking.public(server.uri)}"
    try:
        found = server.version(name, last.version).tags.get("model_sha256", "")
    except UserError as missing:
        return f"{where}: {missing}; {_expected(record, last)}"
    if sha256 and found != sha256:
        return f"{where}: {name} version {last.version} has other weights ({found[:12]}); {_expected(record, last)}"
    return ""


def _expected(record: str | Path, last: history.Move) -> str:
    where = last.record.get("registry", "")
    weights, place = last.record.get("model_sha256", "")[:12], f", in {where}" if where else ""
    return (
        f"the promotion ledger {record} says that {last.record['model_name']} version {last.version} ({weights}) is "
        f"champion ({last.in_words()}{place}), so this is not the project's registry; set "
        f"MLFLOW_TRACKING_URI{f'={where}' if where else ''}, restore that registry from its backup, or give another "
        "registry its own --ledger"
    )


def address(uri: str) -> str:
    """The address of a registry for the promotion ledger, without a password or this machine's path to the project."""
    from i2i_unlearn.registry import tracking

    return tracking.public(uri).replace(f"sqlite:///{Path.cwd().resolve()}/", "sqlite:///")


def lost_champion(server: "tracking.Server", record: str | Path, model_name: str) -> str:
    """Number of the version that was promoted last, where no version has the alias champion although one should.

    The ledger says it; without a ledger, the mark that a promotion leaves on a version. Empty = nothing was promoted.
    """
    last = history.last_champion(ledger.read(record), model_name) if record else None
    if last:
        return last.version
    from i2i_unlearn.registry import tracking

    marked = [version for version in server.versions(model_name) if tracking.PROMOTED in version.tags]
    return max(marked, key=lambda version: version.tags[tracking.PROMOTED]).number if marked else ""
