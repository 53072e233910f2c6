"""The index fits the shards, whatever happened to either."""

import stat

import numpy as np
import pytest

from i2i_unlearn.data.images.reading import iter_pictures, read_index
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.data.search.description import describe
from i2i_unlearn.data.search.index import BYTES_PER_IMAGE, open_index
from i2i_unlearn.data.split.picture_hash import thumbnail
from i2i_unlearn.support.errors import UserError
from tests.support.says import says


def records(shard, count):
    rng = np.random.default_rng(ord(shard))
    for number in range(count):
        yield Record(f"{shard}/{number}", "x", stored_png(rng.integers(0, 256, (8, 8), np.uint8)))


@pytest.fixture
def images(tmp_path):
    """Two shards, of 5 and 3 images."""
    folder = tmp_path / "images"
    write_shards(records("a", 5), folder, "a")
    write_shards(records("b", 3), folder, "b")
    return folder


@pytest.fixture
def opened(images, tmp_path):
    """`opened()`: the index of the images."""
    return lambda: open_index(str(images), tmp_path / "index")


def counts(index):
    return index.num_images, index.num_made, index.num_removed


def test_an_index_holds_the_description_of_every_image_and_is_made_once(images, opened):
    index = opened()
    assert counts(index) == (8, 8, 0)
    for shard, rows in read_index(str(images)).groupby("shard"):
        (held,) = (one for one in index.shards if one.name == shard)
        expected = describe(np.stack([thumbnail(one) for one in iter_pictures(str(images), rows)]))
        assert (held.descriptions.values == expected.values).all()
        assert (held.descriptions.lengths == expected.lengths).all()
    assert counts(opened()) == (8, 0, 0)


def test_only_its_owner_may_read_it_and_git_does_not_see_it(opened, tmp_path):
    opened()
    assert stat.S_IMODE((tmp_path / "index").stat().st_mode) == 0o700
    assert (tmp_path / "index/.gitignore").read_text() == "*\n"


def test_nothing_of_an_erased_image_stays(images, opened, tmp_path):
    opened()
    kept = [one for one in records("a", 5) if one.sample_id != "a/2"]
    (images / "a.parquet").unlink()
    write_shards(kept, images, "a")
    before = {path.name for path in (tmp_path / "index").iterdir()}
    assert counts(opened()) == (7, 4, 1)
    after = {path.name for path in (tmp_path / "index").iterdir()}
    assert len(before - after) == len(after - before) == 1
    (images / "a.parquet").unlink()
    assert counts(opened()) == (3, 0, 1)


def test_a_shard_with_another_name_is_not_described_again(images, opened):
    opened()
    (images / "a.parquet").rename(images / "z.parquet")
    assert counts(opened()) == (8, 0, 0)


def test_what_is_damaged_or_half_made_is_made_again(opened, tmp_path):
    index = opened()
    folder = tmp_path / "index"
    first, second = (folder / shard.digest for shard in index.shards)
    cut = (first / "values.npy").read_bytes()[:-64]
    (first / "values.npy").write_bytes(cut)
    (second / "lengths.npy").unlink()
    (folder / f".{second.name}.new.x").mkdir()  # of a killed run
    (folder / f".{'0' * 64}.new.x").mkdir()  # of a shard that is gone
    assert counts(opened()) == (8, 8, 1)
    assert {path.name for path in folder.iterdir()} == {".gitignore", first.name, second.name}


def test_an_interrupted_run_goes_on_with_the_shard_that_it_was_at(images, opened):
    whole = (images / "b.parquet").read_bytes()
    place = whole.index(b"IDAT")
    (images / "b.parquet").write_bytes(whole[:place] + b"TADI" + whole[place + 4 :])
    with says(UserError, "b.parquet", "sha256"):
        opened()
    (images / "b.parquet").write_bytes(whole)
    assert counts(opened()) == (8, 3, 0)


@pytest.mark.parametrize("name", ["notes.txt", "0" * 64])
def test_a_folder_that_holds_something_else_is_refused_and_stays(images, tmp_path, name):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_text("mine")
    with says(UserError, "mine", name, "--index"):
        open_index(str(images), folder)
    assert (folder / name).read_text() == "mine"


def test_an_index_is_as_large_as_help_says():
    assert BYTES_PER_IMAGE == 92
