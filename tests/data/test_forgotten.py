"""Images that were forgotten come back under another name: import refuses them, split gives them the role erased."""

import hashlib
import hmac
import json

import pytest

from i2i_unlearn.data.forgotten import bytes_code, key_code, read_forgotten
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.images.shards import Record
from i2i_unlearn.data.importers.run import ImportSettings, import_images
from i2i_unlearn.data.split.codes import KEY_FILE_VARIABLE, create_key, load_key
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import UserError
from tests.data.importers.test_run import place, png
from tests.stages.split_world import SplitWorld
from tests.support.says import says

NO_SEARCH = {"search": False, "hash_bits": 10, "correlation": 0.98, "cosine": 0.5}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Two cats, which are asked for, and four dogs; values are pixels."""
    (tmp_path / "data").mkdir()
    world = SplitWorld(tmp_path / "data", requests=["cats"], near_duplicates=NO_SEARCH)
    monkeypatch.setenv(KEY_FILE_VARIABLE, world.key)
    world.images(*(Record(f"cat/{i}", "cat", png(i), None, "train") for i in (1, 2)), name="cats")
    world.images(*(Record(f"dog/{i}", "dog", png(i), None, "train") for i in range(3, 7)), name="dogs")
    world.request("cats", labels=["cat"])
    return world


def listed(world, *values, requests=("cats",), key=None):
    """Write the list as a promotion does."""
    key = key or load_key(world.key)
    codes = [bytes_code(key, hashlib.sha256(png(value)).hexdigest()) for value in values]
    with ledger.opened(world.root / "forget/forgotten.jsonl") as record:
        record.append({"requests": list(requests), "key_code": key_code(key), "codes": codes})


def test_a_code_is_an_hmac_and_the_list_holds_neither_digest_nor_name(world):
    listed(world, 1)
    digest, key = hashlib.sha256(png(1)).hexdigest(), load_key(world.key)
    written = (world.root / "forget/forgotten.jsonl").read_text()
    by_hand = hmac.new(key, b"image bytes " + digest.encode(), hashlib.sha256).hexdigest()[:32]
    assert json.loads(written)["codes"] == [by_hand]
    assert digest[:16] not in written
    assert read_forgotten(world.root / "forget").look_up(key, [digest, "0" * 64]) == [{"cats"}, set()]


def test_the_manifest_carries_codes_of_what_is_forgotten_only(world):
    roles = world.split()
    codes = dict(zip(roles.index, world.manifest.rows["hmac_bytes"], strict=True))
    key = load_key(world.key)
    assert codes["cat/1"] == bytes_code(key, hashlib.sha256(png(1)).hexdigest())
    assert [codes[f"dog/{i}"] for i in range(3, 7)] == [""] * 4
    assert world.manifest.key_code == key_code(key)


@pytest.mark.parametrize("shard", ["dogs-again", "a.b"])
def test_forgotten_bytes_under_another_name_label_and_shard_are_erased(world, shard):
    listed(world, 1, 2)
    (world.root / "images/cats.parquet").unlink()  # erased, as the law asks
    world.images(Record("holiday/deep/x", "dog", png(1), None, "train"), name=shard)
    world.request("dog", sample_ids=["dog/3"])
    roles = world.split(requests=["dog"], erased=["cats"])
    assert roles["holiday/deep/x"] == "erased"
    assert world.facts["num_came_back"] == 1
    assert set(roles.drop("holiday/deep/x")) == {"forget", "retain"}


def test_the_same_request_can_be_run_again_after_its_promotion(world):
    before = world.split()
    listed(world, 1, 2)
    assert world.split().tolist() == before.tolist()
    assert world.facts["num_came_back"] == 0


def test_included_near_copies_keep_their_role_after_the_promotion(world):
    world.settings["near_duplicates"] = {**NO_SEARCH, "search": True}
    world.images(Record("holiday/1", "dog", png(1), None, "train"), name="copies")
    world.request("cats", labels=["cat"], near_duplicates="include")
    before = world.split()
    assert before["holiday/1"] == "forget"
    listed(world, 1, 2)  # with its copy: of the same bytes
    assert world.split().tolist() == before.tolist()
    assert world.facts["num_came_back"] == 0
    # The next request: what an erased request includes did not come back either.
    world.request("dog", sample_ids=["dog/3"])
    assert world.split(requests=["dog"], erased=["cats"])["holiday/1"] == "erased"
    assert world.facts["num_came_back"] == 0


def test_another_request_for_forgotten_bytes_is_told_that_they_are_erased(world):
    listed(world, 1, 2)
    world.request("again", sample_ids=["cat/1"])
    with says(UserError, "'again'", "1 images are forgotten already"):
        world.split(requests=["again"])


def test_import_refuses_forgotten_bytes_and_writes_nothing(world, tmp_path):
    listed(world, 1, 2)
    source = place(tmp_path / "new", dog__deep__x=png(2), dog__y=png(9))
    with says(UserError, "1 images were forgotten", "cats", "new/dog/deep/x.png", "--skip-forgotten"):
        import_images(source, world.root, ImportSettings(), tell=print)
    assert sorted(path.name for path in (world.root / "images").iterdir()) == ["cats.parquet", "dogs.parquet"]
    imported = import_images(source, world.root, ImportSettings(skip_forgotten=True), tell=print)
    assert (imported.num_forgotten, imported.written.num_images) == (1, 1)
    assert "new/dog/y.png" in set(read_index(str(world.root / "images"))["sample_id"])


def test_a_foreign_or_lost_key_and_a_damaged_list_are_refused_not_ignored(world, tmp_path, monkeypatch):
    other = load_key(str(create_key(str(tmp_path / "other"))))
    listed(world, 1, key=other)
    with says(UserError, "forgotten.jsonl", "another key", "--hmac-key-file"):
        world.split()
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(tmp_path / "lost"))
    source = place(tmp_path / "new", dog__y=png(9))
    with says(UserError, "lost", "no key"):
        import_images(source, world.root, ImportSettings(), tell=print)
    path = world.root / "forget/forgotten.jsonl"
    path.write_text(path.read_text()[:-5])
    with says(UserError, "forgotten.jsonl", "not complete"):
        world.split()


def test_without_a_list_no_key_is_asked_for(world, monkeypatch):
    monkeypatch.setenv(KEY_FILE_VARIABLE, "nowhere")
    source = place(world.root.parent / "new", dog__y=png(9))
    assert import_images(source, world.root, ImportSettings(), tell=print).num_forgotten == 0
