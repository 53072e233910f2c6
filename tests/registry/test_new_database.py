import sqlite3
import subprocess
import sys
import time

from i2i_unlearn.registry.tracking.connection import connect
from i2i_unlearn.support.errors import UserError
from tests.support.says import says

OPEN = "import sys; from i2i_unlearn.registry.tracking.connection import connect\nwith connect(sys.argv[1]): pass"


def test_killed_as_it_creates_mlflows_file_the_next_call_finds_a_whole_one(tmp_path):
    database = tmp_path / "mlflow.db"
    process = subprocess.Popen([sys.executable, "-c", OPEN, f"sqlite:///{database}"])
    while not any(file.stat().st_size for file in tmp_path.glob(".mlflow.db.new.*/mlflow.db")):
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not database.exists()
    with connect(f"sqlite:///{database}") as server:
        assert server.versions("nobody") == []
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_file_that_mlflow_left_half_made_is_told_and_kept(tmp_path):
    database = tmp_path / "mlflow.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE metrics (key TEXT)")
    before = database.read_bytes()
    with says(UserError, str(database), "stopped", "remove"), connect(f"sqlite:///{database}"):
        pass
    assert database.read_bytes() == before
