"""From a split through registration and promotion: the promoted images are recognised when they come back."""

import shutil

import pytest

from i2i_unlearn.data.images.shards import Record
from i2i_unlearn.registry.requests import find_champion
from i2i_unlearn.stages import promote, register
from i2i_unlearn.support import files
from tests.data.importers.test_run import png
from tests.data.test_forgotten import NO_SEARCH
from tests.registry.world import Registered, make_folders
from tests.stages.split_world import SplitWorld


@pytest.fixture
def world(tmp_path):
    """Two cats, asked for, and four dogs, split."""
    (tmp_path / "data").mkdir()
    world = SplitWorld(tmp_path / "data", requests=["cats"], near_duplicates=NO_SEARCH)
    world.images(*(Record(f"cat/{i}", "cat", png(i), None, "train") for i in (1, 2)), name="cats")
    world.images(*(Record(f"dog/{i}", "dog", png(i), None, "train") for i in range(3, 7)), name="dogs")
    world.request("cats", labels=["cat"])
    world.split()
    return world


@pytest.fixture
def registered_cats(world, config, teacher, tmp_path) -> Registered:
    """The original, and an unlearned version with the world's split."""
    folders = make_folders(tmp_path / "artifacts", teacher)
    shutil.copy(world.root / "splits/manifest.parquet", folders.root / "splits")
    summary = files.read_json(folders.root / "unlearned/summary.json")
    manifest_sha256 = files.digest_file(folders.root / "splits/manifest.parquet")
    files.write_json(folders.root / "unlearned/summary.json", {**summary, "manifest_sha256": manifest_sha256})
    register.run_original(teacher, config)
    register.run(*folders.evaluate().inputs, config)
    return Registered(config)


@pytest.mark.parametrize("lists", ["promote", "request add"])
def test_promoted_images_that_come_back_are_erased(lists, world, registered_cats, promote_config, tmp_path):
    forget = world.root / "forget"
    here = forget if lists == "promote" else tmp_path / "another machine"
    facts = promote.run(promote_config, registered_cats.config, requests=here)
    if lists == "promote":
        assert "2 images added" in str(facts["forgotten"])
    else:  # what `request add` asks, where the requests are
        assert "no folder" in str(facts["forgotten"])
        assert "2 images added" in find_champion(registered_cats.name, promote_config.ledger, forget).listed
    (world.root / "images/cats.parquet").unlink()
    world.images(Record("new/name", "dog", png(2), None, "train"), name="holiday")
    world.request("dog", sample_ids=["dog/3"])
    roles = world.split(requests=["dog"], erased=["cats"])
    assert (roles["new/name"], world.facts["num_came_back"]) == ("erased", 1)
    assert sorted(roles.drop("new/name")) == ["forget", "retain", "retain", "retain"]
