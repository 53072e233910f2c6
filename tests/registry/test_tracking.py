import os
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from mlflow import pyfunc
from mlflow.exceptions import MlflowException
from sqlalchemy import create_engine

from i2i_unlearn.registry import tracking
from i2i_unlearn.registry.requests import find_champion
from i2i_unlearn.registry.tracking.connection import connect, in_one_line
from i2i_unlearn.registry.tracking.record import thinned
from i2i_unlearn.stages import promote, register
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError
from tests.registry.servers import free_port
from tests.registry.world import SIZE, complete_elsewhere, completed_by, images
from tests.support.says import says


def test_the_champion_completes_images_bit_for_bit_as_the_model_does(
    teacher, folders, config, promote_config, tmp_path
):
    register.run_original(teacher, config)
    register.run(*folders.inputs, config)
    promote.run(promote_config, config)
    completed, package = complete_elsewhere(f"models:/{config.model_name}@champion", tmp_path / "elsewhere")
    expected = completed_by(folders.model)
    np.testing.assert_array_equal(completed, expected)
    assert completed.dtype == np.uint8
    assert not np.array_equal(expected, completed_by(teacher))
    np.testing.assert_array_equal(
        completed[:, :, : SIZE // 2], images()[:, :, : SIZE // 2]
    )  # visible pixels come back as they were
    assert "/code/i2i_unlearn/" in package  # the package came with the version, not from the installation


def test_images_of_another_size_and_numbers_that_are_not_pixels_are_refused(registered):
    model = pyfunc.load_model(f"models:/{registered.name}/2")
    with says(MlflowException, "(1, 9, 8, 1)", "the model takes"):
        model.predict(np.zeros((1, SIZE + 1, SIZE, 1), dtype=np.uint8))
    with says(MlflowException, "pixels", "0 to 255"):
        model.predict(np.full((1, SIZE, SIZE, 1), 0.5))


def test_nothing_in_a_version_is_pickled(registered, tmp_path):
    with tracking.connect() as server:
        saved = server.download(registered.version("2"), tmp_path)
    names = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".bin", ".pyc"))]
    assert {"MLmodel", "pyfunc_model.py", "code/i2i_unlearn/serving/pyfunc_model.py"} <= names
    assert {name for name in names if name.startswith("artifacts/")} == {
        f"artifacts/model/{name}" for name in ("config.json", "model.safetensors", "preprocessor_config.json")
    }
    requirements = (saved / "requirements.txt").read_text().splitlines()
    assert all("==" in line and "+" not in line for line in requirements)


def test_the_champion_is_told_with_all_requests_it_has_forgotten(registered):
    assert find_champion("never-registered") is None
    assert find_champion(registered.name).requests == ()
    registered.tag("2", requests="digit-5,digit-3", erased="digit-3,digit-7")
    registered.set_alias("champion", "2")
    champion = find_champion(registered.name)
    assert champion.version == "2"
    assert champion.sha256 == registered.tags("2")["model_sha256"]
    assert champion.requests == ("digit-3", "digit-5", "digit-7")


UNNAMED = ("models:/NAME@champion", "models:/NAME/latest", "models:/NAME", "models:/NAME/1/x", "models:/m-1", "NAME/1")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        *((uri, ("names no version", "models:/NAME/NUMBER")) for uri in (*UNNAMED, "")),
        ("models:/NAME/7", ("no version '7'", "1, 2")),
    ],
)
def test_what_names_no_version_is_refused(registered, tmp_path, uri, words):
    with says(UserError, *words):
        tracking.fetch_version(uri.replace("NAME", registered.name), tmp_path / "model")


def test_fetching_gives_the_registered_bytes_or_leaves_the_earlier_output(registered, teacher, tmp_path):
    uri, out = f"models:/{registered.name}/1", tmp_path / "model"
    tracking.fetch_version(uri, out)
    assert files.digest_folder(out) == files.digest_folder(teacher)
    registered.tag("1", model_sha256="0" * 64)
    with says(UserError, uri, "bytes", "000000000000", "register"):
        tracking.fetch_version(uri, out)
    assert files.digest_folder(out) == files.digest_folder(teacher)


def test_long_curves_are_thinned_and_keep_their_ends():
    for num in (1, 3, 1000, 1001, 54321):
        steps = [{"step": step} for step in range(num)]
        kept = thinned(steps)
        assert len(kept) <= tracking.MOST_POINTS
        assert (kept[0], kept[-1]) == (steps[0], steps[-1])
        assert len({line["step"] for line in kept}) == len(kept)
    assert thinned([]) == []
    assert len(thinned([{"step": step} for step in range(1000)])) == 1000


@pytest.mark.parametrize(("tag", "ids"), [("", []), ("a", ["a"]), ("a,b", ["a", "b"])])
def test_ids_in_a_tag(tag, ids):
    assert tracking.names(tag) == ids


def test_a_server_that_is_down_is_one_line_after_a_few_seconds(folders, config, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{free_port()}")
    begin = time.monotonic()
    with pytest.raises(UserError, match="cannot be reached .* start the server or correct MLFLOW_TRACKING_URI") as told:
        register.run(*folders.inputs, config)
    assert time.monotonic() - begin < 30
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    stream = tracking.attached_stream()
    for step in range(3):
        stream({"step": step, "total": 1.0})
    assert capsys.readouterr().err.count("training goes on without live curves") == 1


def test_no_run_to_attach_to_means_no_stream():
    assert tracking.attached_stream() is None


def test_a_fresh_folder_gets_its_own_database_in_silence(tmp_path):
    code = "from i2i_unlearn.registry import tracking\nwith tracking.connect() as server: print(server.versions('x'))"
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert (tmp_path / "mlflow.db").is_file()


@pytest.mark.parametrize("address", ["127.0.0.1:5000", "localhost:5000", "mlflow.example.com:80/mlflow"])
def test_an_address_without_http_is_refused_and_no_folder_of_its_name_is_made(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with says(UserError, f"MLFLOW_TRACKING_URI={address}", f"http://{address}"), connect():
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_locked_database_is_told_as_one(tmp_path):
    path = tmp_path / "mlflow.db"
    holder = sqlite3.connect(path)
    holder.execute("CREATE TABLE one (number INTEGER)")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        create_engine(f"sqlite:///{path}", connect_args={"timeout": 0}).connect().exec_driver_sql("DELETE FROM one")
    except Exception as error:
        told = in_one_line(f"sqlite:///{path}", error)
    holder.close()
    assert all(word in told for word in ("mlflow.db", "locked by another process", "run this again"))


def test_a_server_that_does_not_know_its_host_name_asks_for_no_password():
    error = RuntimeError(
        "API request to endpoint failed with error code 403 != 200. Invalid Host header - possible DNS"
    )
    told = in_one_line("http://127.0.0.1:5000", error)
    assert all(word in told for word in ("127.0.0.1:5000", "host name", "localhost", "MLFLOW_SERVER_ALLOWED_HOSTS"))
    assert "PASSWORD" not in told


def test_what_mlflow_takes_for_a_missing_right_is_told_as_the_lost_connection_that_it_is(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        pytest.raises(UserError, match="cannot be reached .no connection."),
        tracking.connect(f"http://127.0.0.1:{free_port()}") as server,
    ):
        server.client.set_logged_model_tags("m-1", {"key": "value"})
