import io
import unicodedata

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from i2i_unlearn.data.images.decoding import Reading
from i2i_unlearn.data.images.layout import READING_KEY
from i2i_unlearn.data.images.reading import iter_encoded, list_shards, load_pixels, read_index
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.data.split.near_copy_search import read_thumbnails
from i2i_unlearn.support.errors import UserError
from tests.support.says import says


def png(value, side=2):
    return stored_png(np.full((side, side), value, np.uint8))


def write(folder, name, values, start=0):
    records = (Record(f"{name}-{start + i}", "a", png(value)) for i, value in enumerate(values))
    return write_shards(records, folder, name).paths[0]


def rows(*places):
    return pd.DataFrame(places, columns=["shard", "row"])


def load(images, places):
    return load_pixels(str(images), places, image_size=(2, 2), num_channels=1, description="x")[:, 0, 0, 0].tolist()


def rewrite(path, **columns):
    """Replace columns of a shard behind the project's back."""
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    pq.write_table(table, path)


# --- index ---


def test_the_index_names_every_image_in_shard_order(tmp_path):
    write(tmp_path, "b", [1])
    write(tmp_path, "a", [2, 3])
    index = read_index(str(tmp_path))
    assert list(index.columns) == ["shard", "row", "sample_id", "label", "subject", "source_split", "sha256"]
    assert index[["shard", "row", "sample_id"]].to_numpy().tolist() == [
        ["a.parquet", 0, "a-0"],
        ["a.parquet", 1, "a-1"],
        ["b.parquet", 0, "b-0"],
    ]


def test_shards_in_folders_are_named_relative_to_the_uri_and_hidden_ones_do_not_count(tmp_path):
    write(tmp_path / "2026", "a", [1])
    write(tmp_path / ".a.new.77", "half", [1])
    (tmp_path / "readme.txt").write_text("no shard")
    assert list_shards(str(tmp_path)) == ["2026/a.parquet"]
    assert load(tmp_path, rows(("2026/a.parquet", 0))) == [1]


@pytest.mark.parametrize("trailing", ["", "/"])
def test_shards_may_lie_on_another_file_system(tmp_path, trailing):
    path = write(tmp_path, "a", [1, 2, 3])
    remote = fsspec.filesystem("memory")
    remote.pipe("/bucket/images/a.parquet", path.read_bytes())
    images = f"memory://bucket/images{trailing}"
    assert list_shards(images) == ["a.parquet"]
    assert read_index(images)["sample_id"].tolist() == ["a-0", "a-1", "a-2"]
    assert load(images, rows(("a.parquet", 2), ("a.parquet", 0))) == [3, 1]


def test_images_that_are_not_there_are_told_with_the_commands_that_fetch_them(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        with says(UserError, folder, "no image shard", "i2i-unlearn data embedded digits --out data", "dvc pull"):
            read_index(str(tmp_path / folder))
    with says(UserError, "carrier-pigeon://images: ", "cannot be opened"):
        read_index("carrier-pigeon://images")


def test_duplicate_sample_ids_are_told_by_place_not_by_name(tmp_path):
    path = write(tmp_path, "a", [1, 2, 3])
    rewrite(path, sample_id=["x", "secret", "secret"])
    with says(UserError, "a.parquet row 1", "a.parquet row 2", "same sample id") as caught:
        read_index(str(tmp_path))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 200, 400])
def test_a_truncated_shard_is_named(tmp_path, keep):
    path = write(tmp_path, "a", [1, 2, 3])
    path.write_bytes(path.read_bytes()[:keep])
    with says(UserError, "shard a.parquet", "truncated or damaged", "dvc pull", "data import"):
        read_index(str(tmp_path))


def test_text_of_a_shard_that_is_no_text_is_told(tmp_path):
    path = write(tmp_path, "a", [1, 2, 3])
    index = read_index(str(tmp_path))
    content = path.read_bytes()
    path.write_bytes(content.replace(index["sample_id"][0].encode(), b"\xb0" + index["sample_id"][0].encode()[1:]))
    with says(UserError, "shard a.parquet", "UTF", "dvc pull"):
        read_index(str(tmp_path))


def test_a_file_of_another_layout_or_with_an_unknown_split_is_told(tmp_path):
    rewrite(write(tmp_path, "a", [1]), source_split=["test"])
    with says(UserError, "source_split 'test'", "train, val, unknown"):
        read_index(str(tmp_path))
    pq.write_table(pa.table({"image": [b"1"], "label": ["a"]}), tmp_path / "a.parquet")
    with says(UserError, "a.parquet is not an image shard", "no column sample_id", "i2i-unlearn data import"):
        read_index(str(tmp_path))


@pytest.mark.parametrize(("metadata", "found"), [({b"i2i_unlearn.image_shard": b"2"}, "2"), (None, "none")])
def test_a_shard_of_another_schema_version_is_refused(tmp_path, metadata, found):
    path = write(tmp_path, "a", [1])
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    with says(UserError, "a.parquet", f"schema version {found}", "reads 1", "i2i-unlearn data import"):
        read_index(str(tmp_path))


# --- pixels ---


def test_pixels_come_in_the_order_of_the_rows_across_row_groups_and_shards(tmp_path):
    write(tmp_path, "a", [i % 256 for i in range(600)])
    write(tmp_path, "b", [201, 202])
    places = rows(("b.parquet", 1), ("a.parquet", 599), ("a.parquet", 0), ("b.parquet", 0), ("a.parquet", 300))
    assert load(tmp_path, places) == [202, 599 % 256, 0, 201, 300 % 256]
    assert list(iter_encoded(str(tmp_path), places.iloc[:2])) == [png(202), png(599 % 256)]  # as they were stored


def test_rows_may_repeat_may_carry_any_index_and_may_be_none(tmp_path):
    write(tmp_path, "a", [10, 20])
    places = rows(("a.parquet", 1), ("a.parquet", 0), ("a.parquet", 1)).set_index(pd.Index([7, 7, 3]))
    assert load(tmp_path, places) == [20, 10, 20]
    none = load_pixels(str(tmp_path), rows(), image_size=(4, 5), num_channels=3, description="x")
    assert none.shape == (0, 3, 4, 5)


def test_damage_inside_a_shard_is_found_when_pixels_are_read(tmp_path):
    path = write(tmp_path, "a", range(50))
    content = bytearray(path.read_bytes())
    at = content.find(png(25))
    content[at + 50] ^= 255
    path.write_bytes(content)
    with says(UserError, "a.parquet row 25", "sha256", "dvc pull"):
        load(tmp_path, rows(*(("a.parquet", i) for i in range(50))))


@pytest.mark.parametrize(
    ("place", "key_words"),
    [
        (("a.parquet", 1), ("a.parquet has no row 1", "i2i-unlearn split")),
        (("b.parquet", 0), ("shard b.parquet is missing", "dvc pull")),
    ],
)
def test_a_row_or_a_shard_that_is_gone_is_named(tmp_path, place, key_words):
    write(tmp_path, "a", [1])
    with says(UserError, *key_words):
        load(tmp_path, rows(place))


def test_a_broken_image_is_named_by_its_place(tmp_path):
    write_shards([Record("someone", "a", png(1)[:-25])], tmp_path, "a")
    with says(UserError, "a.parquet row 0: ", "cannot be decoded"):
        load(tmp_path, rows(("a.parquet", 0)))


# --- how files become pixels ---


def test_a_shard_says_how_its_images_are_read_and_the_default_adds_nothing(tmp_path):
    deep = io.BytesIO()
    Image.fromarray(np.full((2, 2), 4095, np.uint16)).save(deep, "PNG")
    record = Record("a", "x", deep.getvalue())
    for name, reading in (("as_16", Reading()), ("as_12", Reading(bits=12))):
        write_shards([record], tmp_path / name, "s", reading)
    assert load(tmp_path / "as_16", rows(("s.parquet", 0))) == [15]
    assert load(tmp_path / "as_12", rows(("s.parquet", 0))) == [255]
    assert READING_KEY not in pq.read_schema(tmp_path / "as_16/s.parquet").metadata
    assert read_thumbnails(str(tmp_path / "as_12"), read_index(str(tmp_path / "as_12"))).min() == 255


def test_two_spellings_of_a_name_are_one_label_and_one_person(tmp_path):
    one, two = (unicodedata.normalize(form, "Zo\u00eb") for form in ("NFC", "NFD"))
    write_shards([Record("1", one, png(1), one), Record("2", two, png(2), two)], tmp_path, "s")
    index = read_index(str(tmp_path))
    assert index["label"].tolist() == index["subject"].tolist() == [one, one]
