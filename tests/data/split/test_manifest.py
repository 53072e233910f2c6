import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.split.manifest import SplitManifest, digest_images, fingerprints, read_manifest, write_manifest
from i2i_unlearn.support.errors import UserError
from tests.support.says import says


@pytest.fixture
def images(tmp_path):
    write_shards([Record(f"secret-{i}", "a", bytes([i])) for i in range(3)], tmp_path / "images", "s")
    return str(tmp_path / "images")


@pytest.fixture
def manifest(images):
    rows = pd.DataFrame(
        {
            "shard": ["s.parquet"] * 3,
            "row": [0, 1, 2],
            "part": ["train", "train", "holdout"],
            "role": ["forget", "retain", "retain_holdout"],
            "hmac_id": ["a" * 32, "b" * 32, "c" * 32],
        }
    )
    found = fingerprints(read_index(images))
    return SplitManifest(rows, found, ("digit-3",), ("old",), digest_images(found))


def test_what_was_written_is_what_is_read_and_equal_manifests_give_equal_bytes(manifest, images, tmp_path):
    write_manifest(manifest, tmp_path / "m.parquet")
    for found in (read_manifest(tmp_path / "m.parquet"), read_manifest(tmp_path / "m.parquet", images)):
        assert found == manifest
        assert found.rows.equals(manifest.rows)
        write_manifest(found, tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "m.parquet").read_bytes()


def test_rows_are_chosen_by_role_in_manifest_order(manifest):
    chosen = manifest.of("retain_holdout", "forget")
    assert chosen["row"].tolist() == [0, 2]
    assert chosen.index.tolist() == [0, 1]
    assert len(manifest.of("erased")) == 0
    with pytest.raises(ValueError, match="unknown roles"):  # our bug
        manifest.of("forgotten")


def test_no_sample_id_and_no_digest_of_an_image_is_in_the_file(manifest, images, tmp_path):
    write_manifest(manifest, tmp_path / "m.parquet")
    content = (tmp_path / "m.parquet").read_bytes()
    table = pq.read_table(tmp_path / "m.parquet")
    text = content + repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode()
    index = read_index(images)
    for secret in [*index["sample_id"], *index["sha256"], "secret"]:
        assert secret.encode() not in text


def test_a_manifest_of_other_images_is_refused(manifest, images, tmp_path):
    write_manifest(manifest, tmp_path / "m.parquet")
    write_shards([Record("new", "a", b"9")], images, "t")
    with says(UserError, "m.parquet", images, "t.parquet", "i2i-unlearn split"):
        read_manifest(tmp_path / "m.parquet", images)


def test_the_fingerprint_of_a_shard_depends_on_ids_bytes_and_order_but_not_on_labels(images):
    index = read_index(images)
    changed = [
        index.assign(sample_id=["x", *index["sample_id"][1:]]),
        index.assign(sha256=["x", *index["sha256"][1:]]),
        index.iloc[::-1],
    ]
    seen = {fingerprints(table)["s.parquet"] for table in [index, *changed]}
    assert len(seen) == 4
    assert fingerprints(index) == fingerprints(index.assign(label="other"))


@pytest.mark.parametrize(("change", "fault"), [((b"requests", b"requestt"), "requests"), ((b"{", b"["), "None")])
def test_facts_of_which_a_byte_was_flipped_are_told(manifest, tmp_path, change, fault):
    path = tmp_path / "m.parquet"
    write_manifest(manifest, path)
    table = pq.read_table(path)
    ((key, facts),) = table.schema.metadata.items()
    pq.write_table(table.replace_schema_metadata({key: facts.replace(*change, 1)}), path)
    with says(UserError, str(path), fault, "i2i-unlearn split"):
        read_manifest(path)


@pytest.mark.parametrize("fault", ["no split manifest", "damaged", "schema version None"])
def test_a_file_that_is_no_manifest_is_told_with_the_command_that_makes_one(manifest, tmp_path, fault):
    path = tmp_path / "m.parquet"
    if fault == "damaged":
        write_manifest(manifest, path)
        path.write_bytes(path.read_bytes()[:-100])
    elif fault != "no split manifest":
        pq.write_table(pa.table({"shard": ["a"]}), path)
    with says(UserError, str(path), fault, "i2i-unlearn split"):
        read_manifest(path)
