"""A project that was moved, copied or mounted elsewhere: its database names the artifacts by their absolute place.

MLflow makes each place absolute when it writes it. A copy would therefore write into the files of the first project,
and a moved one would find nothing. So the places are corrected, before anything else is asked, wherever the folder of
the artifacts is next to the database.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from i2i_unlearn.registry.tracking.entities import DEFAULT_ARTIFACTS

PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def follow(database: Path) -> None:
    """Let the SQLite file `database` name the artifacts next to it, if it names those of another folder.

    Only places below a folder that this program gave to an experiment change: PROJECT/mlflow-artifacts.
    """
    here = database.resolve().parent
    if not (database.is_file() and (here / DEFAULT_ARTIFACTS).is_dir()):
        return
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" not in tables:
            return
        given = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        before = {str(Path(place).parent) for (place,) in given if place and Path(place).name == DEFAULT_ARTIFACTS}
        for old in before - {str(here)}:
            for table, column in ((table, column) for table, column in PLACES if table in tables):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (str(here), len(old) + 1, len(old) + 1, f"{old}/"),
                )
