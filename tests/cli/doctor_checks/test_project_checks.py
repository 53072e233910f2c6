"""The project in the working folder, as the doctor sees it."""

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from i2i_unlearn.cli.doctor_checks import look
from i2i_unlearn.cli.doctor_checks.project import Shape, misfits, operator, project, shape_of
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.request import make_request, write_request

ROOT = Path(__file__).parents[3]


def png(grey):
    buffer = io.BytesIO()
    Image.new("L", (28, 28), grey).save(buffer, "PNG")
    return buffer.getvalue()


def ask_for(selector):
    request = make_request(id="digit-3", received="2026-02-01", due="2026-03-01", basis="asked", selector=selector)
    write_request(request, Path("data/forget/digit-3.yaml"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The demo's settings, with 60 grey images of labels 3 and 4 and the request to forget the 3."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "mlflow/policies", tmp_path / "mlflow/policies")
    records = [Record(f"i{i}", "34"[i % 2], png(i)) for i in range(60)]
    write_shards(records, tmp_path / "data/images", "s")
    (tmp_path / "data/forget").mkdir()
    ask_for({"labels": ["3"]})
    return tmp_path


def change(folder, old, new):
    text = (folder / "params.yaml").read_text()
    assert old in text
    (folder / "params.yaml").write_text(text.replace(old, new))


def lines():
    return {line.name: line for line in look([project])}


def test_settings_that_fit_model_and_images(folder):
    found = lines()
    assert {name: line.state for name, line in found.items()} == {
        "settings": "ok",
        "operator": "ok",
        "images": "ok",
        "policy": "ok",
    }
    assert found["operator"].found == (
        "center_hole:0.75 leaves 75% of 28x28 pixels visible, 75% of its patches of 7 px whole"
    )
    assert found["images"].found == "60 in data/images, 28x28 L; the model takes 28x28 grey"
    assert found["policy"].found == "policy as_unseen can be decided (digit-3)"


def test_a_policy_that_cannot_be_decided_says_what_is_missing(folder):
    (folder / "data/forget/digit-3.yaml").unlink()
    ask_for({"sample_ids": ["i0"]})
    line = lines()["policy"]
    assert line.state == "warn"
    assert all(words in line.found for words in ("undecided", "images of forget needed", "there is 1"))


def test_a_fault_in_the_settings_is_one_line(folder):
    change(folder, "operator: center_hole", "operator: middle_hole")
    assert lines()["operator"].state == "fail"
    assert "middle_hole" in lines()["operator"].found
    change(folder, "keep_fraction: 0.75", "keep_fraction: many")
    (line,) = look([project])
    assert (line.name, line.state) == ("settings", "fail")
    assert "keep_fraction" in line.found


def test_a_folder_without_a_project_is_told_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (line,) = look([project])
    assert (line.state, line.advice) == ("warn", "i2i-unlearn init FOLDER makes a project")


def test_no_images_and_a_request_that_is_missing_are_lines(folder):
    (folder / "data/forget/digit-3.yaml").unlink()
    assert lines()["policy"].state == "fail"
    shutil.rmtree(folder / "data/images")
    assert (lines()["images"].state, lines()["images"].advice) == ("warn", "i2i-unlearn data import --help")


@pytest.mark.parametrize(
    ("keep_fraction", "patch", "state"),
    [
        (0.75, 7, "ok"),  # a hole of 14 px in the middle of 28, as the patches lie
        (0.5, 7, "warn"),  # 20 px in the middle remain, from 4 to 24: the outer patches are cut
        (0.75, 28, "fail"),  # the one patch is cut
        (0.5, 0, "ok"),  # a model without patches
    ],
)
def test_edges_that_cut_patches_are_told(keep_fraction, patch, state):
    params = {"operator": "outpaint" if keep_fraction == 0.5 else "center_hole"}
    params |= {"keep_fraction": keep_fraction, "operator_patch_size": 7}
    assert operator(params, Shape(28, 28, 1, patch)).state == state


def test_what_is_lost_on_the_way_to_the_model():
    colour, grey = Shape(224, 224, 3, 16), Shape(28, 28, 1, 7)
    assert list(misfits(["500x400 RGB"], colour)) == []
    assert list(misfits(["32x32 RGB"], colour)) == ["images of half its size or less are enlarged"]
    assert list(misfits(["28x28 L"], colour)) == ["images of half its size or less are enlarged", "all images are grey"]
    assert list(misfits(["28x28 L", "28x28 RGBA"], grey)) == ["colour is lost"]


def test_the_shape_of_a_model_is_read_from_its_config():
    assert shape_of({"image_size": 28, "num_channels": 1, "patch_size": 7}) == Shape(28, 28, 1, 7)
    assert shape_of({"image_size": [28, 32], "num_channels": 3}) == Shape(28, 32, 3, 0)
    assert shape_of({"family": "latent_diffusion"}) is None
