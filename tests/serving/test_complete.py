"""Many images, by the command: what lies in the folder afterwards, and what after a kill."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from i2i_unlearn.config.sections import CompleteConfig
from i2i_unlearn.models.mae import MaskedAutoencoder
from i2i_unlearn.serving import complete
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError
from tests.registry.world import SIZE, make_model
from tests.serving.pictures import as_bytes, pixels
from tests.support.says import says

KEPT = 4  # columns of the operator half_left


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "model", seed=0)


@pytest.fixture
def config(params_with) -> CompleteConfig:
    return CompleteConfig.from_params(
        params_with(operator="half_left", keep_fraction=0.5, operator_patch_size=4, complete={"batch_size": 3})
    )


def write_pictures(folder: Path, num: int = 8) -> np.ndarray:
    images = pixels(num)
    folder.mkdir()
    for number, image in enumerate(images):
        (folder / f"{number}.png").write_bytes(as_bytes(image))
    return images


def completions(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.png")}


def test_a_folder_is_completed_and_visible_pixels_stay(model, config, tmp_path):
    images = write_pictures(tmp_path / "in")
    facts = complete.run(str(model), tmp_path / "in", tmp_path / "out", config)
    assert (facts["num_images"], facts["num_completed"], facts["num_there"]) == (8, 8, 0)
    for number, image in enumerate(images):
        found = np.asarray(Image.open(tmp_path / f"out/{number}.png"))
        np.testing.assert_array_equal(found[:, :KEPT], image[:, :KEPT, 0])
        assert (found[:, KEPT:] != image[:, KEPT:, 0]).mean() > 0.5


@pytest.mark.parametrize("operator", ["half_left", "random_patches"])
def test_the_same_seed_gives_the_same_bytes_also_after_a_loss(model, config, tmp_path, operator):
    write_pictures(tmp_path / "in")
    runs = {name: tmp_path / name for name in ("one", "two", "other")}
    asked = {"operator": operator}
    for name, out in runs.items():
        complete.run(str(model), tmp_path / "in", out, config, asked={**asked, "seed": 5 if name == "other" else 0})
    first = completions(runs["one"])
    assert completions(runs["two"]) == first
    assert (completions(runs["other"]) == first) == (operator == "half_left")
    (runs["two"] / "4.png").unlink()
    (runs["two"] / "7.png").unlink()
    facts = complete.run(str(model), tmp_path / "in", runs["two"], config, asked=asked)
    assert (facts["num_completed"], facts["num_there"]) == (2, 6)
    assert completions(runs["two"]) == first


def test_what_is_complete_is_not_computed_again(model, config, tmp_path, monkeypatch):
    write_pictures(tmp_path / "in")
    complete.run(str(model), tmp_path / "in", tmp_path / "out", config)
    monkeypatch.setattr(MaskedAutoencoder, "complete", None)
    assert complete.run(str(model), tmp_path / "in", tmp_path / "out", config)["num_completed"] == 0


def test_broken_files_are_listed_and_cost_no_other_image(model, config, tmp_path):
    write_pictures(tmp_path / "in")
    (tmp_path / "in/3.png").write_bytes(b"no picture")
    (tmp_path / "in/note.txt").write_text("text")
    with says(UserError, "2 of 9 images", "unreadable.txt", "3.png"):
        complete.run(str(model), tmp_path / "in", tmp_path / "out", config)
    assert sorted(completions(tmp_path / "out")) == [f"{number}.png" for number in (0, 1, 2, 4, 5, 6, 7)]
    listed = (tmp_path / "out/unreadable.txt").read_text().splitlines()
    assert [line.partition(": ")[0] for line in listed] == [str(tmp_path / "in/3.png"), str(tmp_path / "in/note.txt")]


def test_a_folder_of_other_completions_is_refused_and_left_alone(model, config, tmp_path):
    write_pictures(tmp_path / "in")
    out = tmp_path / "out"
    complete.run(str(model), tmp_path / "in", out, config)
    before = completions(out)
    with says(UserError, "differing: operator)", "choose another folder"):
        complete.run(str(model), tmp_path / "in", out, config, asked={"operator": "half_up"})
    other = make_model(tmp_path / "model", seed=1)
    with says(UserError, "differing: model_sha256)"):
        complete.run(str(other), tmp_path / "in", out, config)
    (tmp_path / "in/0.png").write_bytes(as_bytes(pixels(1, seed=9)[0]))
    with says(UserError, "differing: inputs)"):
        complete.run(str(model), tmp_path / "in", out, config)
    assert completions(out) == before
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter").write_text("dear")
    with says(UserError, "foreign", "not empty", "choose another folder"):
        complete.run(str(model), tmp_path / "in", foreign, config)
    assert [path.name for path in foreign.iterdir()] == ["letter"]


def test_sizes_and_kinds_are_dealt_with_as_everywhere_and_names_tell_the_file(model, config, tmp_path):
    (tmp_path / "in/deep").mkdir(parents=True)
    wide = np.zeros((SIZE, 2 * SIZE, 3), dtype=np.uint8)
    wide[:, SIZE // 2 : SIZE + SIZE // 2] = 200
    (tmp_path / "in/deep/a.jpg").write_bytes(as_bytes(wide, "JPEG"))
    (tmp_path / "in/deep/a.png").write_bytes(as_bytes(wide))
    (tmp_path / "in/.hidden").write_text("x")
    complete.run(str(model), tmp_path / "in", tmp_path / "out", config)
    assert sorted(completions(tmp_path / "out")) == ["deep/a.jpg.png", "deep/a.png"]
    found = np.asarray(Image.open(tmp_path / "out/deep/a.png"))
    assert found.shape == (SIZE, SIZE)
    assert (found[:, :KEPT] == 200).all()


def test_two_files_of_one_name_are_refused(model, config, tmp_path):
    write_pictures(tmp_path / "in", 1)
    (tmp_path / "in/a.jpg").write_bytes(as_bytes(pixels(1)[0], "JPEG"))
    (tmp_path / "in/a.jpg.png").write_bytes(as_bytes(pixels(1)[0]))
    with says(UserError, "a.jpg and ", "would both become a.jpg.png", "rename"):
        complete.run(str(model), tmp_path / "in", tmp_path / "out", config)


def test_rows_of_parquet_and_one_image(model, config, tmp_path):
    images = [as_bytes(image) for image in pixels(5)]
    pq.write_table(pa.table({"picture": [*images[:4], None]}), tmp_path / "set.parquet")
    with says(UserError, "set.parquet row 4", "no bytes"):
        complete.run(str(model), tmp_path / "set.parquet", tmp_path / "rows", config, image_column="picture")
    assert sorted(completions(tmp_path / "rows")) == [f"set/{number:08d}.png" for number in range(4)]
    (tmp_path / "one.png").write_bytes(images[0])
    complete.run(str(model), tmp_path / "one.png", tmp_path / "one", config)
    assert completions(tmp_path / "one")["one.png"] == completions(tmp_path / "rows")["set/00000000.png"]


def test_a_registered_version_brings_its_own_settings(served, config, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.tracking_uri)
    write_pictures(tmp_path / "in", 2)
    other = config.model_copy(update={"operator": "half_up"})
    facts = complete.run("models:/served@champion", tmp_path / "in", tmp_path / "out", other)
    assert (facts["model"], facts["operator"]) == ("models:/served/1", "half_left")
    assert facts["model_sha256"] == files.digest_folder(served.model_dir)
    complete.run(str(served.model_dir), tmp_path / "in", tmp_path / "same", config)
    assert completions(tmp_path / "out") == completions(tmp_path / "same")
    facts = complete.run("models:/served/1", tmp_path / "in", tmp_path / "up", config, asked={"operator": "half_up"})
    assert facts["operator"] == "half_up"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("models:/served@nobody", ("served has no nobody", "promote a version")),
        ("models:/served/9", ("no version '9'", "registered")),
        ("models:/served", ("models:/served: ", "models:/NAME/NUMBER or models:/NAME@champion")),
        ("nowhere", ("nowhere: not a model directory", "config.json")),
    ],
)
def test_a_model_that_is_not_there_is_one_line(served, config, tmp_path, monkeypatch, name, told):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.tracking_uri)
    write_pictures(tmp_path / "in", 1)
    with says(UserError, *told):
        complete.run(name, tmp_path / "in", tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("images", "out", "told"),
    [
        ("in", "in/out", ("would be taken for images", "choose another")),
        ("in", "in", ("would be taken for images", "choose another")),
        ("nowhere", "out", ("nowhere: no such file or folder",)),
        ("empty", "out", ("empty: holds no file",)),
    ],
)
def test_wrong_folders_are_one_line(model, config, tmp_path, images, out, told):
    write_pictures(tmp_path / "in", 1)
    (tmp_path / "empty").mkdir()
    with says(UserError, *told):
        complete.run(str(model), tmp_path / images, tmp_path / out, config)


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(command_line, model, tmp_path, params_with):
    import yaml

    write_pictures(tmp_path / "in", 10)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params_with(complete={"batch_size": 3})))
    words = ["complete", "--model", model, "--in", "in", "--operator", "half_left", "--keep-fraction", "0.5", "--out"]
    assert command_line(tmp_path, *words, "whole").code == 0
    killed = command_line(tmp_path, *words, "out", moment={"event": "os.rename", "contains": "4.png"})
    assert killed.code == -9
    left = completions(tmp_path / "out")
    assert 3 <= len([name for name in left if not name.startswith(".")]) < 10
    again = command_line(tmp_path, *words, "out")
    assert again.code == 0, again.err
    assert completions(tmp_path / "out") == completions(tmp_path / "whole")
    assert not list((tmp_path / "out").glob(".*"))
    made = json.loads((tmp_path / "out/made_from.json").read_text())
    assert (made["schema_version"], made["operator"]) == (1, "half_left")
