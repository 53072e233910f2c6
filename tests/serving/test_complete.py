"""Many images, by the command: what lies in the folder afterwards, and what after a kill."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from i2i_unlearn.config.sections import CompleteConfig
from i2i_unlearn.data.images.decoding import Reading
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.models.mae import MaskedAutoencoder
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.serving import complete
from i2i_unlearn.serving.completion import warning_of
from i2i_unlearn.serving.source import Source
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


@pytest.fixture
def run(model, config, tmp_path):
    """`run("in", "out")`: complete one folder of `tmp_path` into another."""

    def run(images: str, out: str, *, by: str | Path = model, config: CompleteConfig = config, **how: object) -> dict:
        return complete.run(str(by), tmp_path / images, tmp_path / out, config, **how)

    return run


def completions(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.png")}


def test_a_folder_is_completed_once_and_visible_pixels_stay(run, tmp_path, monkeypatch):
    images = write_pictures(tmp_path / "in")
    facts = run("in", "out")
    assert (facts["num_images"], facts["num_completed"], facts["num_there"]) == (8, 8, 0)
    for number, image in enumerate(images):
        found = np.asarray(Image.open(tmp_path / f"out/{number}.png"))
        np.testing.assert_array_equal(found[:, :KEPT], image[:, :KEPT, 0])
        assert (found[:, KEPT:] != image[:, KEPT:, 0]).mean() > 0.5
    monkeypatch.setattr(MaskedAutoencoder, "complete", None)
    assert run("in", "out")["num_completed"] == 0


@pytest.mark.parametrize("operator", ["half_left", "random_patches"])
def test_the_same_seed_gives_the_same_bytes_also_after_a_loss(run, tmp_path, operator):
    write_pictures(tmp_path / "in")
    for out, seed in (("one", 0), ("two", 0), ("other", 5)):
        run("in", out, asked={"operator": operator, "seed": seed})
    first = completions(tmp_path / "one")
    assert completions(tmp_path / "two") == first
    assert (completions(tmp_path / "other") == first) == (operator == "half_left")
    for lost in ("4.png", "7.png"):
        (tmp_path / "two" / lost).unlink()
    facts = run("in", "two", asked={"operator": operator})
    assert (facts["num_completed"], facts["num_there"]) == (2, 6)
    assert completions(tmp_path / "two") == first


def test_broken_files_are_listed_and_cost_no_other_image(run, tmp_path):
    write_pictures(tmp_path / "in")
    (tmp_path / "in/3.png").write_bytes(b"no picture")
    (tmp_path / "in/note.txt").write_text("text")
    with says(UserError, "2 of 9 images", "unreadable.txt", "3.png"):
        run("in", "out")
    assert sorted(completions(tmp_path / "out")) == [f"{number}.png" for number in (0, 1, 2, 4, 5, 6, 7)]
    listed = (tmp_path / "out/unreadable.txt").read_text().splitlines()
    assert [line.partition(": ")[0] for line in listed] == [str(tmp_path / "in/3.png"), str(tmp_path / "in/note.txt")]


def test_a_folder_of_other_completions_is_refused_and_left_alone(run, tmp_path):
    write_pictures(tmp_path / "in")
    run("in", "out")
    before = completions(tmp_path / "out")
    with says(UserError, "differing: operator)", "choose another folder"):
        run("in", "out", asked={"operator": "half_up"})
    with says(UserError, "differing: model_sha256)"):
        run("in", "out", by=make_model(tmp_path / "model", seed=1))
    (tmp_path / "in/0.png").write_bytes(as_bytes(pixels(1, seed=9)[0]))
    with says(UserError, "differing: inputs)"):
        run("in", "out")
    assert completions(tmp_path / "out") == before
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter").write_text("dear")
    with says(UserError, "foreign", "not empty", "choose another folder"):
        run("in", "foreign")
    assert [path.name for path in foreign.iterdir()] == ["letter"]


def test_sizes_and_kinds_are_dealt_with_as_everywhere_and_names_tell_the_file(run, tmp_path):
    (tmp_path / "in/deep").mkdir(parents=True)
    wide = np.zeros((SIZE, 2 * SIZE, 3), dtype=np.uint8)
    wide[:, SIZE // 2 : SIZE + SIZE // 2] = 200
    (tmp_path / "in/deep/a.jpg").write_bytes(as_bytes(wide, "JPEG"))
    (tmp_path / "in/deep/a.png").write_bytes(as_bytes(wide))
    (tmp_path / "in/.hidden").write_text("x")
    run("in", "out")
    assert sorted(completions(tmp_path / "out")) == ["deep/a.jpg.png", "deep/a.png"]
    found = np.asarray(Image.open(tmp_path / "out/deep/a.png"))
    assert found.shape == (SIZE, SIZE)
    assert (found[:, :KEPT] == 200).all()
    (tmp_path / "in/deep/a.jpg.png").write_bytes(as_bytes(wide))
    with says(UserError, "a.jpg and ", "would both become deep/a.jpg.png", "rename"):
        run("in", "out")


def test_rows_of_parquet_and_one_image(run, tmp_path):
    images = [as_bytes(image) for image in pixels(5)]
    pq.write_table(pa.table({"picture": [*images[:4], None]}), tmp_path / "set.parquet")
    with says(UserError, "set.parquet row 4", "no bytes"):
        run("set.parquet", "rows", image_column="picture")
    assert sorted(completions(tmp_path / "rows")) == [f"set/{number:08d}.png" for number in range(4)]
    (tmp_path / "one.png").write_bytes(images[0])
    run("one.png", "one")
    assert completions(tmp_path / "one")["one.png"] == completions(tmp_path / "rows")["set/00000000.png"]


def test_a_registered_version_brings_its_own_settings(served, run, config, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.tracking_uri)
    write_pictures(tmp_path / "in", 2)
    other = config.model_copy(update={"operator": "half_up"})
    facts = run("in", "out", by="models:/served@champion", config=other)
    assert (facts["model"], facts["operator"]) == ("models:/served/1", "half_left")
    assert facts["model_sha256"] == files.digest_folder(served.model_dir)
    run("in", "same", by=served.model_dir)
    assert completions(tmp_path / "out") == completions(tmp_path / "same")
    assert run("in", "up", by="models:/served/1", asked={"operator": "half_up"})["operator"] == "half_up"


@pytest.mark.parametrize(
    ("name", "images", "out", "told"),
    [
        ("models:/served@nobody", "in", "out", ("served has no nobody", "promote a version")),
        ("models:/served/9", "in", "out", ("no version '9'", "registered")),
        ("models:/served", "in", "out", ("models:/served: ", "models:/NAME/NUMBER or models:/NAME@champion")),
        ("nowhere", "in", "out", ("nowhere: not a model directory", "config.json")),
        (None, "in", "in/out", ("would be taken for images", "choose another")),
        (None, "in", "in", ("would be taken for images", "choose another")),
        (None, "nowhere", "out", ("nowhere: no such file or folder",)),
        (None, "empty", "out", ("empty: holds no file",)),
    ],
)
def test_a_model_or_a_folder_that_is_wrong_is_one_line(served, run, tmp_path, monkeypatch, name, images, out, told):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.tracking_uri)
    write_pictures(tmp_path / "in", 1)
    (tmp_path / "empty").mkdir()
    with says(UserError, *told):
        run(images, out, by=name or served.model_dir)
    assert not (tmp_path / "out").exists()


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


def test_file_names_of_any_length_are_completed_and_a_second_run_finds_them(run, tmp_path):
    (tmp_path / "in").mkdir()
    names = ["a.png", "b" * 251 + ".png", "c" * 251 + ".jpg", "c" * 250 + "d.jpg", "\u5199" * 83 + ".webp", "z.png"]
    for name, image in zip(names, pixels(len(names)), strict=True):
        (tmp_path / "in" / name).write_bytes(as_bytes(image))
    assert run("in", "out")["num_completed"] == len(names)
    assert run("in", "out")["num_there"] == len(names)
    found = completions(tmp_path / "out")
    assert len(found) == len(names)
    assert {"a.png", "z.png", "b" * 251 + ".png"} < set(found)
    assert {len(name.encode()) for name in found if name.startswith("c")} == {255}
    assert all(name.endswith(".jpg.png") for name in found if name.startswith("c"))


def test_pictures_are_read_as_the_settings_or_the_shard_say(run, tmp_path):
    grey = pixels(2)[..., 0].astype(np.uint16)
    for name, scale in (("eight", 1), ("twelve", 16)):
        (tmp_path / name).mkdir()
        for number, image in enumerate(grey):
            picture = Image.fromarray((image * scale).astype(np.uint8 if scale == 1 else np.uint16))
            picture.save(tmp_path / name / f"{number}.png")
    run("eight", "expected")
    reading = Reading(bits=12)
    dark = run("twelve", "dark")
    assert "2 images of 16 bits per channel use at most 12 bits" in dark["warning"]
    assert run("twelve", "out", reading=reading)["warning"] == ""
    assert completions(tmp_path / "out") == completions(tmp_path / "expected") != completions(tmp_path / "dark")
    with says(UserError, "out", "something else", "images"):
        run("twelve", "out")
    encoded = [(tmp_path / f"twelve/{number}.png").read_bytes() for number in range(2)]
    write_shards((Record(str(n), "x", one) for n, one in enumerate(encoded)), tmp_path / "shards", "s", reading)
    run("shards", "rows")
    rows, expected = completions(tmp_path / "rows"), completions(tmp_path / "expected")
    assert [rows[f"s/{n:08d}.png"] for n in range(2)] == [expected[f"{n}.png"] for n in range(2)]


def test_an_operator_that_nobody_judged_is_told_and_one_that_was_is_not():
    operator = make_operator("half_left", 0.5, 4)
    assert warning_of(operator, "") == ""  # nothing is known of an original
    assert warning_of(operator, "outpaint:0.25,half_left:0.5") == ""
    assert "half_left:0.5 was not judged" in warning_of(operator, "outpaint:0.25,half_left:0.25")


@pytest.mark.parametrize(("judged", "warned"), [("half_left:0.5", False), ("outpaint:0.25", True)])
def test_the_command_warns_of_what_was_not_judged(run, tmp_path, model, monkeypatch, capsys, judged, warned):
    @contextmanager
    def registered(name):
        yield Source(name, model, "0" * 64, {}, judged)

    monkeypatch.setattr(complete, "opened", registered)
    write_pictures(tmp_path / "in", 1)
    run("in", "out")
    assert ("half_left:0.5 was not judged" in capsys.readouterr().err) == warned
