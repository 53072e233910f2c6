"""MLflow's SQLite file appears whole or not at all.

MLflow creates its tables one by one. If it is killed on the way, what it leaves can be opened neither by it nor by
`mlflow db upgrade`.
"""

import os
import sqlite3
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import folder_aside


def create_whole(database: Path) -> None:
    """Create the tables of a new SQLite file next to its place, then link it there; an existing file is left alone.

    Raises:
        UserError: the file has tables and no schema version: MLflow was killed while it created them.
    """
    if database.exists():
        _refuse_half(database)
    elif os.access(database.parent, os.W_OK):  # if not, MLflow says so
        utils: Any = import_module("mlflow.store.db.utils")  # untyped

        with folder_aside(database) as aside:
            engine = utils.create_sqlalchemy_engine(f"sqlite:///{aside / database.name}")
            try:
                utils._initialize_tables(engine)
            finally:
                engine.dispose()
            with suppress(FileExistsError):  # another process was first
                os.link(aside / database.name, database)


def _refuse_half(database: Path) -> None:
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "metrics" not in tables:
            return
        if "alembic_version" in tables and connection.execute("SELECT 1 FROM alembic_version").fetchone():
            return
    raise UserError(
        f"{database}: MLflow was stopped while it created this file, and cannot open it; nothing is in it yet: remove "
        "it and run the same command again"
    )
