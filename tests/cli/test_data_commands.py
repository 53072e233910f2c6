import json
import stat
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from i2i_unlearn.cli.data import app
from i2i_unlearn.data.images.decoding import Reading
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.data.importers.parquet import reading_in
from i2i_unlearn.support.errors import UserError
from tests.support.commands import lines_of
from tests.support.says import says


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run `i2i-unlearn data ...` in an empty folder; return its lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("I2I_UNLEARN_HMAC_KEY_FILE", raising=False)

    return partial(lines_of, app)


@pytest.fixture
def pets(tmp_path):
    for name, value in (("cat/a", 1), ("cat/b", 2), ("dog/c", 3)):
        path = tmp_path / f"pets/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored_png(np.full((4, 6), value, np.uint8)))
    return tmp_path / "pets"


def test_embedded_digits_come_once_and_then_are_unchanged(call, tmp_path):
    first = call("embedded", "digits", "--out", "data")
    size = (tmp_path / "data/images/digits.parquet").stat().st_size
    assert first == [f"wrote data/images/digits.parquet ({size} bytes)", "5000 images"]
    assert call("embedded", "digits") == [f"unchanged data/images/digits.parquet ({size} bytes)", "5000 images"]
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "data/forget/digit-3.yaml",
        "data/images/digits.parquet",
    ]


def test_a_folder_is_imported_and_shown(call, pets):
    assert call("import", "pets", "--source-split", "test")[-1] == "3 images"
    assert call("show") == [
        "shard         images  bytes",
        f"pets.parquet       3  {(pets.parent / 'data/images/pets.parquet').stat().st_size:>5}",
        "all                3",
        "",
        "label  images",
        "cat         2",
        "dog         1",
        "",
        "source split  images",
        "val                3",
        "",
        "size (height x width)  images",
        "4x6 L                       3",
        "",
        "subjects: 0",
    ]


def test_what_is_shown_can_be_had_as_json(call, pets):
    call("import", "pets")
    facts = json.loads("\n".join(call("show", "--json")))
    assert (facts["num_images"], facts["labels"], facts["sizes"]) == (3, {"cat": 2, "dog": 1}, {"4x6 L": 3})


def test_broken_images_stop_the_import_or_are_listed_and_skipped(call, pets):
    (pets / "cat/b.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="1 images are broken"):
        call("import", "pets")
    lines = call("import", "pets", "--skip-broken")
    assert lines[:4] == [
        "pets: folder per class, 3 images",
        "classes: 2 (cat 2, dog 1)",
        "splits: unknown 3 (holdout_fraction draws which were not trained on; --source-split, if you know)",
        "persons: none",
    ]
    assert lines[4].startswith("broken: pets/cat/b.png: the image cannot be decoded")
    assert (lines[-2], lines[-1].startswith("1 broken images")) == ("2 images", True)


def test_a_dry_run_tells_and_writes_nothing(call, pets):
    lines = call("import", "pets", "--dry-run", "--source-split", "train")
    assert lines[1:] == [
        "classes: 2 (cat 2, dog 1)",
        "splits: train 3",
        "persons: none",
        "nothing was written (--dry-run)",
    ]
    assert not Path("data").exists()


def test_a_key_is_made_once_where_the_environment_says(call, tmp_path, monkeypatch):
    assert call("key")[0].startswith("wrote .secrets/hmac.key; keep it secret")
    assert stat.S_IMODE((tmp_path / ".secrets/hmac.key").stat().st_mode) == 0o600
    with pytest.raises(UserError, match="already exists and is kept"):
        call("key")
    monkeypatch.setenv("I2I_UNLEARN_HMAC_KEY_FILE", str(tmp_path / "mounted"))
    call("key")
    assert (tmp_path / "mounted").exists()


def test_sample_ids_are_listed_by_label_and_pattern(call, pets):
    call("import", "pets")
    assert call("list") == ["pets/cat/a.png", "pets/cat/b.png", "pets/dog/c.png", "3 images"]
    assert call("list", "--label", "cat", "--grep", "[bc].png$") == ["pets/cat/b.png", "1 images"]
    assert [row["label"] for row in json.loads("\n".join(call("list", "--json")))] == ["cat", "cat", "dog"]
    for arguments, key_words in ((["--label", "cow"], ("'cow'", "cat, dog")), (["--grep", "("], ("'('", "regular"))):
        with says(UserError, *key_words):
            call("list", *arguments)


def test_settings_of_images_reach_the_shard(call, pets, params_with):
    Path("params.yaml").write_text(yaml.safe_dump(params_with(images={"bits": 12})))
    Image.fromarray(np.full((4, 6), 1000, np.uint16)).save(pets / "cat/deep.png")
    assert "1 images of 16 bits per channel use at most 10 bits" in "\n".join(call("import", "pets"))
    shown = call("show")[-2:]
    assert shown[0].startswith("pets.parquet is read with") and '"bits": 12' in shown[0]  # noqa: PT018
    assert "use at most 10 bits" in shown[1]
    assert reading_in(Path("data/images/pets.parquet")) == Reading(bits=12)
    Path("params.yaml").write_text(yaml.safe_dump(params_with(images={"bits": 20})))
    with says(UserError, "images.bits=20"):
        call("import", "pets")


def test_labels_and_persons_are_listed_and_searched(call, tmp_path):
    write_shards(
        [
            Record("1", "cat", stored_png(np.zeros((2, 2), np.uint8)), subject="ann"),
            Record("2", "cat", stored_png(np.ones((2, 2), np.uint8)), subject="bob", more_labels=("dog",)),
            Record("3", "cow", stored_png(np.full((2, 2), 2, np.uint8))),
        ],
        tmp_path / "data/images",
        "pets",
        several=True,
    )
    assert call("list", "labels") == ["cat", "cow", "dog", "3 labels"]
    assert call("list", "labels", "--grep", "^c") == ["cat", "cow", "2 labels"]
    assert call("list", "persons") == ["ann", "bob", "2 persons"]
    assert call("list", "persons", "--label", "dog") == ["bob", "1 persons"]
    assert json.loads("\n".join(call("list", "labels", "--json"))) == {"cat": 2, "cow": 1, "dog": 1}
