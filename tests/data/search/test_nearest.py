"""Copies of an image are found and called the same; what is forgotten is passed over."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.data.search.index import open_index
from i2i_unlearn.data.search.nearest import LaidOver, look_up, nearest, ranked
from i2i_unlearn.support.errors import UserError
from tests.support.says import says

NUM = 60


def picture(number):
    """A random colour picture without fine detail, 48 pixels high and 64 wide."""
    coarse = np.random.default_rng(number).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)


def jpeg(one, quality=30):
    written = io.BytesIO()
    one.save(written, "JPEG", quality=quality)
    return Image.open(written).convert("RGB")


def crop(one):
    """80 % of each side, not in the middle."""
    return one.crop((round(one.width * 0.15), 0, round(one.width * 0.95), round(one.height * 0.8)))


COPIES = {
    "the same": lambda one: one,
    "JPEG": jpeg,
    "half the size": lambda one: one.resize((one.width // 2, one.height // 2)),
    "brighter": lambda one: ImageEnhance.Brightness(one).enhance(1.2),
    "cropped": crop,
    "mirrored": ImageOps.mirror,
    "turned": lambda one: one.rotate(90, expand=True),
    "grey": lambda one: one.convert("L"),
    "mirrored, cropped, JPEG": lambda one: jpeg(crop(ImageOps.mirror(one)), 60),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "images"
    records = (
        Record(f"p/{number}", "x", stored_png(np.asarray(picture(number))), subject="ann" if number == 7 else None)
        for number in range(NUM)
    )
    write_shards(records, folder, "p")
    several = Record("q", "x", stored_png(np.asarray(picture(99))), more_labels=("y",), more_subjects=("bob",))
    write_shards([several], folder, "q", several=True)
    return str(folder)


@pytest.fixture(scope="module")
def opened(images, tmp_path_factory):
    return open_index(images, tmp_path_factory.mktemp("index"))


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_leads_to_its_image_and_to_no_other(images, opened, kind):
    for number in (7, 30, 59):
        found, num_hidden = nearest(opened, images, COPIES[kind](picture(number)), 5)
        assert (len(found), num_hidden) == (5, 0)
        assert found[0].sample_id == f"p/{number}"
        assert [one.is_same for one in found] == [True, False, False, False, False]


def test_a_picture_that_is_not_there_is_the_same_as_none(images, opened):
    found, _ = nearest(opened, images, picture(1000), 10)
    assert len(found) == 10
    assert not any(one.is_same for one in found)


def test_what_is_found_has_its_names_and_its_picture(images, opened):
    (found,), _ = nearest(opened, images, picture(7), 1)
    assert (found.shard, found.row, found.labels, found.subjects) == ("p.parquet", 7, ("x",), ("ann",))
    assert (np.asarray(found.picture) == np.asarray(picture(7))).all()
    (several,), _ = nearest(opened, images, picture(99), 1)
    assert (several.sample_id, several.labels, several.subjects) == ("q", ("x", "y"), ("bob",))


def test_the_forgotten_are_passed_over_and_counted(images, opened):
    (first, second), _ = nearest(opened, images, picture(7), 2)
    found, num_hidden = nearest(opened, images, picture(7), 2, lambda sha256: sha256 == first.sha256)
    assert num_hidden == 1
    assert second.sample_id in {one.sample_id for one in found}
    assert "p/7" not in {one.sample_id for one in found}
    assert nearest(opened, images, picture(7), 2, lambda _: True) == ([], NUM + 1)


def test_every_image_has_one_rank(images, opened):
    places = list(ranked(opened, picture(3)))
    assert len(set(places)) == NUM + 1
    assert places[0] == ("p.parquet", 3)


def test_names_come_in_the_order_that_was_asked_for(images):
    places = [("q.parquet", 0), ("p.parquet", 40), ("p.parquet", 2)]
    assert [one.sample_id for one in look_up(images, places)] == ["q", "p/40", "p/2"]


def test_correlation_is_one_of_a_copy_and_the_same_both_ways_round():
    assert LaidOver(picture(1)).correlation(picture(1)) == pytest.approx(1, abs=1e-5)
    assert LaidOver(crop(picture(1))).correlation(picture(1)) > 0.95
    assert LaidOver(picture(1)).correlation(crop(picture(1))) > 0.95
    assert LaidOver(picture(1)).correlation(picture(2)) < 0.9


def test_a_name_that_is_no_text_is_told_in_one_line(images, tmp_path):
    damaged = (Path(images) / "p.parquet").read_bytes().replace(b"p/40", b"p/\xff0")
    (tmp_path / "p.parquet").write_bytes(damaged)
    with says(UserError, "p.parquet", "damaged"):
        look_up(str(tmp_path), [("p.parquet", 40)])
