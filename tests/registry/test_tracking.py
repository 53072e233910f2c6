import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import pyfunc
from mlflow.exceptions import MlflowException

from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float, to_uint8
from i2i_unlearn.registry import tracking
from i2i_unlearn.registry.requests import find_champion
from i2i_unlearn.registry.tracking.record import thinned
from i2i_unlearn.stages import promote, register
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError
from tests.registry.servers import free_port
from tests.registry.world import SIZE
from tests.support.says import says

COMPLETE = """
import sys
import numpy as np
from mlflow import pyfunc

model = pyfunc.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2])))
import i2i_unlearn
print(i2i_unlearn.__file__)
"""


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 1), dtype=np.uint8)


def completed_by(model_dir: Path) -> np.ndarray:
    """What the model itself makes of `images`."""
    model, generator = load_model(model_dir), torch.Generator().manual_seed(0)
    images_BCHW = to_float(torch.from_numpy(images()).permute(0, 3, 1, 2))
    visible_BHW = make_operator("half_left", 0.5, 4).draw(len(images_BCHW), SIZE, SIZE, generator)
    with torch.inference_mode():
        completed_BCHW = model.complete(images_BCHW, visible_BHW, generator=generator)
    return to_uint8(completed_BCHW).permute(0, 2, 3, 1).numpy()


def complete_elsewhere(uri: str, folder: Path) -> tuple[np.ndarray, str]:
    """Load and run a registered model in another process, somewhere else, with pickle forbidden; and whose code ran."""
    folder.mkdir()
    np.save(folder / "in.npy", images())
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:mlflow.pyfunc", "-c", COMPLETE, uri, "in.npy", "out.npy"],
        cwd=folder,
        env={**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / "out.npy"), done.stdout.strip().splitlines()[-1]


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


def test_nobody_is_champion_of_a_model_that_was_never_registered(config):
    assert find_champion(config.model_name) is None


def test_the_champion_is_told_with_all_requests_it_has_forgotten(registered):
    assert find_champion(registered.name).requests == ()
    registered.tag("2", requests="digit-5,digit-3", erased="digit-3,digit-7")
    registered.set_alias("champion", "2")
    champion = find_champion(registered.name)
    assert champion.version == "2"
    assert champion.sha256 == registered.tags("2")["model_sha256"]
    assert champion.requests == ("digit-3", "digit-5", "digit-7")


def test_a_fetched_version_has_the_registered_bytes(registered, teacher, tmp_path):
    tracking.fetch_version(f"models:/{registered.name}/1", tmp_path / "model")
    assert files.digest_folder(tmp_path / "model") == files.digest_folder(teacher)


@pytest.mark.parametrize(
    "uri",
    ["models:/NAME@champion", "models:/NAME/latest", "models:/NAME", "models:/NAME/1/x", "models:/m-123", "NAME/1", ""],
)
def test_what_names_no_version_is_refused(registered, tmp_path, uri):
    with says(UserError, "names no version", "models:/NAME/NUMBER"):
        tracking.fetch_version(uri.replace("NAME", registered.name), tmp_path / "model")


def test_fetching_what_was_changed_in_mlflow_is_refused_and_leaves_the_earlier_output(registered, tmp_path):
    tracking.fetch_version(f"models:/{registered.name}/1", tmp_path / "model")
    before = files.digest_folder(tmp_path / "model")
    registered.tag("1", model_sha256="0" * 64)
    with says(UserError, f"models:/{registered.name}/1", "bytes", "000000000000", "register"):
        tracking.fetch_version(f"models:/{registered.name}/1", tmp_path / "model")
    assert files.digest_folder(tmp_path / "model") == before


def test_fetching_a_version_that_does_not_exist_tells_which_do(registered, tmp_path):
    with pytest.raises(UserError, match=r"has no version '7'; registered are: 1, 2"):
        tracking.fetch_version(f"models:/{registered.name}/7", tmp_path / "model")


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


def test_what_mlflow_takes_for_a_missing_right_is_told_as_the_lost_connection_that_it_is(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        pytest.raises(UserError, match="cannot be reached .no connection."),
        tracking.connect(f"http://127.0.0.1:{free_port()}") as server,
    ):
        server.client.set_logged_model_tags("m-1", {"key": "value"})
