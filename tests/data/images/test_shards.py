import subprocess
import sys
import textwrap

import pyarrow.parquet as pq
import pytest

from i2i_unlearn.data.images import shards
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.support.errors import UserError
from tests.support.says import says


def records(count, size=10, prefix="s"):
    return [Record(f"{prefix}-{i}", str(i % 3), bytes([i % 256]) * size) for i in range(count)]


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.fixture
def small_limits(monkeypatch):
    """Three images of 400 bytes fill a row group, six fill a shard."""
    monkeypatch.setattr(shards, "BYTES_PER_GROUP", 1000)
    monkeypatch.setattr(shards, "BYTES_PER_SHARD", 2000)


def group_sizes(path):
    metadata = pq.ParquetFile(path).metadata
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def test_what_was_written_can_be_read(tmp_path):
    given = [Record("a", "cat", b"1", "anna", "train"), Record("b", "dog", b"2")]
    written = write_shards(given, tmp_path / "images", "pets")
    assert written.paths == (tmp_path / "images/pets.parquet",)
    assert (written.num_images, written.unchanged) == (2, False)
    rows = pq.read_table(written.paths[0]).to_pylist()
    # echo -n 1 | sha256sum
    one = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    assert rows[0] == {
        "sample_id": "a",
        "label": "cat",
        "subject": "anna",
        "source_split": "train",
        "sha256": one,
        "image": b"1",
    }
    assert (rows[1]["subject"], rows[1]["source_split"]) == (None, "unknown")


def test_row_groups_hold_at_most_256_images(tmp_path):
    assert group_sizes(write_shards(records(600), tmp_path, "x").paths[0]) == [256, 256, 88]


def test_large_images_make_smaller_row_groups_and_many_fill_several_shards(tmp_path, small_limits):
    written = write_shards(records(10, size=400), tmp_path, "x")
    assert [path.name for path in written.paths] == ["x-00000-of-00002.parquet", "x-00001-of-00002.parquet"]
    assert [group_sizes(path) for path in written.paths] == [[3, 3], [3, 1]]
    ids = [row for path in written.paths for row in pq.read_table(path)["sample_id"].to_pylist()]
    assert ids == [f"s-{i}" for i in range(10)]


def test_writing_the_same_again_changes_nothing_and_says_so_and_other_images_are_refused(tmp_path):
    first = write_shards(records(300), tmp_path / "images", "x")
    content = first.paths[0].read_bytes()
    again = write_shards(records(300), tmp_path / "images", "x")
    assert again.unchanged
    with says(UserError, "x.parquet", "already exists", "choose another name"):
        write_shards(records(301), tmp_path / "images", "x")
    assert again.paths[0].read_bytes() == content
    assert names(tmp_path) == ["images", "x.parquet"]


def test_shards_that_a_killed_run_did_not_place_are_added(tmp_path, small_limits):
    first = write_shards(records(10, size=400), tmp_path, "x")
    content = first.paths[1].read_bytes()
    first.paths[1].unlink()
    assert not write_shards(records(10, size=400), tmp_path, "x").unchanged
    assert first.paths[1].read_bytes() == content


def test_a_sample_id_that_occurs_twice_is_refused_and_nothing_is_written(tmp_path):
    with says(UserError, "sample id 's-1' occurs twice", "give every image its own id"):
        write_shards([*records(3), Record("s-1", "0", b"other")], tmp_path, "x")
    assert names(tmp_path) == []
    write_shards(records(3), tmp_path, "x")
    with says(UserError, "sample id 's-0' occurs twice"):
        write_shards(records(1), tmp_path, "y")
    assert names(tmp_path) == ["x.parquet"]


def test_a_damaged_shard_next_to_it_is_told_unless_it_is_hidden(tmp_path):
    path = write_shards(records(3), tmp_path, "x").paths[0]
    path.write_bytes(path.read_bytes()[:-20])
    with says(UserError, "x.parquet", "truncated or damaged"):
        write_shards(records(1, prefix="t"), tmp_path, "y")
    assert names(tmp_path) == ["x.parquet"]
    path.rename(tmp_path / ".x.parquet")
    assert write_shards(records(1), tmp_path, "y").num_images == 1


def test_no_image_at_all_is_refused(tmp_path):
    with says(UserError, "x.parquet", "no image to write", "check the source"):
        write_shards([], tmp_path, "x")


def test_a_failing_source_leaves_nothing_behind(tmp_path):
    def failing():
        yield from records(300)
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        write_shards(failing(), tmp_path / "images", "x")
    assert names(tmp_path) == ["images"]


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / ".x.new.killed").mkdir()
    (tmp_path / ".x.new.killed/00000.parquet").write_bytes(b"half")
    write_shards(records(1), tmp_path / "images", "x")
    assert names(tmp_path) == ["images", "x.parquet"]


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path):
    # A limit on the size of files stands in for a full disk: the write fails half-way.
    script = """
        import resource, sys
        from i2i_unlearn.data.images.shards import Record, write_shards
        from i2i_unlearn.support.errors import UserError
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            write_shards((Record(str(i), "0", bytes(1000)) for i in range(2000)), sys.argv[1], "x")
        except UserError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "images")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "the disk is full" in done.stdout
    assert "free some space and run the same command again" in done.stdout
    assert done.stdout.count("\n") == 1
    assert names(tmp_path) == ["images"]
