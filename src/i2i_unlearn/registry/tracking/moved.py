"""A project that was moved, copied or mounted elsewhere: its database names the artifacts by their absolute place.

MLflow makes each place absolute when it writes it. A copy would therefore write into the files of the first project,
and a moved one would find nothing. So the places are corrected, before anything else is asked, where the folder next to
the database holds the artifacts. A server's own folder elsewhere, which alone holds them, stays.
"""

import os
import sqlite3
import sys
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

    Only places below a folder that this program gave to an experiment change: PROJECT/mlflow-artifacts. A line on
    stderr says so.
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
        places = [(table, column) for table, column in PLACES if table in tables]
        changed = sorted(old for old in before - {str(here)} if _is_copied(connection, places, old, str(here)))
        for old in changed:
            for table, column in places:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (str(here), len(old) + 1, len(old) + 1, f"{old}/"),
                )
    for old in changed:
        print(f"{database}: named the artifacts in {old}, now names those in {here}", file=sys.stderr)


def _is_copied(connection: sqlite3.Connection, places: list[tuple[str, str]], old: str, here: str) -> bool:
    """Whether `here` holds artifacts that the database names below `old`, and all that are still there."""
    one, other = (os.path.join(root, DEFAULT_ARTIFACTS) for root in (old, here))
    if os.path.exists(one) and os.path.samefile(one, other):  # one folder, mounted or linked at two places
        return False
    named = {
        place[len(old) :]
        for table, column in places
        if table != "experiments"
        for (place,) in connection.execute(f"SELECT {column} FROM {table}")
        if place and place.startswith(f"{old}/")
    }
    there, found = ({name for name in named if os.path.exists(root + name)} for root in (old, here))
    return bool(found) and there <= found
