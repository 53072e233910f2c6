"""From a photograph to ids that a request takes."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_unlearn.data.forgotten import FILE, bytes_code, key_code
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.data.split.codes import load_key
from i2i_unlearn.support import ledger


def picture(number):
    coarse = np.random.default_rng(number).integers(0, 256, (6, 6), np.uint8)
    return Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)


@pytest.fixture
def find(command_line, tmp_path):
    """`find(...)` in a folder with ten images, of which photo.jpg is a cropped copy of the fifth."""
    records = (Record(f"pets/{number}", "cat", stored_png(np.asarray(picture(number)))) for number in range(10))
    write_shards(records, tmp_path / "data/images", "pets")
    (tmp_path / "data/forget").mkdir()
    picture(5).crop((0, 4, 28, 32)).resize((90, 90)).save(tmp_path / "photo.jpg", quality=60)
    return lambda *arguments: command_line(tmp_path, "find", *arguments)


def test_a_photograph_leads_to_the_ids_of_its_copies_and_to_a_page(find, tmp_path):
    ended = find("photo.jpg", "--ids-out", "ids.txt", "--top", "3")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0] == "photo.jpg:"
    assert lines[2].split()[:4] == ["pets/5", "cat", "the", "same"]
    assert len(lines) == 7
    (page,) = (tmp_path / ".review").glob("*.html")
    assert lines[-1] == f"Page: {page.relative_to(tmp_path)}"
    assert (tmp_path / "ids.txt").read_text() == "pets/5\n"
    assert stat.S_IMODE((tmp_path / "ids.txt").stat().st_mode) == 0o600
    assert "forget NAME --ids-file ids.txt --preview" in ended.err
    assert "10 images; described 10 images" in ended.err
    assert "up to date" in find("photo.jpg", "--no-page").err


def test_facts_can_be_had_as_json(find):
    facts = json.loads(find("photo.jpg", "--json", "--no-page", "--top", "2").out)
    assert [one["sample_id"] for one in facts["found"]["photo.jpg"]][0] == "pets/5"
    assert (facts["num_images"], facts["page"], len(facts["found"]["photo.jpg"])) == (10, None, 2)


def test_without_a_photograph_the_index_is_brought_up_to_date(find, tmp_path):
    ended = find()
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.startswith(".image-index: 10 images; described 10")
    assert not (tmp_path / ".review").exists()


def test_ids_of_strangers_are_not_written(find, tmp_path):
    picture(77).save(tmp_path / "stranger.png")
    ended = find("stranger.png", "--ids-out", "ids.txt")
    assert ended.code == 1
    assert "ids.txt: not written" in ended.err
    assert not (tmp_path / "ids.txt").exists()


def test_forgotten_images_are_shown_only_if_asked_for(find, tmp_path, command_line):
    assert command_line(tmp_path, "data", "key").code == 0
    key = load_key(str(tmp_path / ".secrets/hmac.key"))
    sha256 = read_index(str(tmp_path / "data/images"))["sha256"][5]
    with ledger.opened(tmp_path / "data/forget" / FILE) as record:
        record.append({"requests": ["w-1"], "key_code": key_code(key), "codes": [bytes_code(key, sha256)]})
    ended = find("photo.jpg")
    assert "pets/5" not in ended.out
    assert "1 images that a promoted model has forgotten are not shown" in ended.out
    assert "pets/5" in find("photo.jpg", "--include-forgotten").out
    Path(tmp_path / ".secrets/hmac.key").unlink()
    assert "data key" in find("photo.jpg").err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.jpg",), ("missing.jpg", "No such file")),
        (("text.txt",), ("text.txt", "cannot be decoded")),
        (("blank.png",), ("blank.png", "one grey level")),
        (("photo.jpg", "--images", "nowhere"), ("nowhere", "no image shard")),
        (("photo.jpg", "--index", "data"), ("data", "--index")),
    ],
)
def test_wrong_input_is_one_line_and_changes_nothing(find, tmp_path, arguments, words):
    (tmp_path / "text.txt").write_text("no picture")
    Image.new("RGB", (9, 9), "white").save(tmp_path / "blank.png")
    before = sorted(tmp_path.rglob("*"))
    ended = find(*arguments)
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1
    assert all(word in ended.err for word in words), ended.err
    assert sorted(tmp_path.rglob("*")) == before
