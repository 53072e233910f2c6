"""What becomes of near-copies of forget images."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from i2i_unlearn.data.images.shards import Record
from i2i_unlearn.data.split.codes import hmac_id, load_key
from i2i_unlearn.support.errors import UserError
from tests.stages.split_world import SplitWorld
from tests.support.says import says

SEARCH = {"search": True, "hash_bits": 10, "correlation": 0.98, "cosine": 0.0}


def picture(number):
    small = np.random.default_rng(number).integers(0, 256, (6, 6), dtype=np.uint8)
    return Image.fromarray(small).resize((48, 48), Image.Resampling.BICUBIC)


def record(name, image, part, subject=None):
    written = io.BytesIO()
    image.save(written, "PNG")
    return Record(name, "face", written.getvalue(), subject, part)


@pytest.fixture
def world(tmp_path):
    """Anna's images, Ben's, copies of them, and strangers'."""
    anna, ben, held_out = picture(1), picture(2), picture(3)
    world = SplitWorld(tmp_path, requests=["anna"], near_duplicates=SEARCH)
    world.images(
        record("anna", anna, "train", "anna"),
        record("anna-held-out", held_out, "val", "anna"),
        record("ben", ben, "train", "ben"),
        record("copy-of-anna", ImageOps.mirror(anna), "train"),
        record("held-out-copy-of-anna", ImageEnhance.Brightness(anna).enhance(0.8), "val"),
        record("copy-of-what-is-held-out", ImageEnhance.Contrast(held_out).enhance(0.8), "train"),
        record("copy-of-ben", ImageOps.mirror(ben), "train"),
        *(record(f"stranger-{i}", picture(10 + i), ("train", "val")[i % 2]) for i in range(6)),
    )
    return world


def file(world, id_, near_duplicates="keep", subject=""):
    """A request for the images of one subject."""
    world.request(id_, near_duplicates, subjects=[subject or id_])


TRAINED_COPIES = ["copy-of-anna", "copy-of-what-is-held-out"]
HELD_OUT = ["anna-held-out", "held-out-copy-of-anna"]
STRANGERS_HELD_OUT = ["stranger-1", "stranger-3", "stranger-5"]


@pytest.mark.parametrize(
    ("word", "role", "counts"),
    [
        ("include", "forget", {"included": 2, "dropped": 2, "kept": 0}),
        ("drop", "dropped", {"included": 0, "dropped": 4, "kept": 0}),
        ("keep", "retain", {"included": 0, "dropped": 2, "kept": 2}),
    ],
)
def test_the_requests_word_decides_over_copies_that_were_trained_on_and_held_out_ones_are_dropped(
    world, word, role, counts
):
    file(world, "anna", near_duplicates=word)
    roles = world.split()
    assert roles["anna"] == "forget"
    assert list(roles[TRAINED_COPIES]) == [role, role]
    assert list(roles[["ben", "copy-of-ben"]]) == ["retain", "retain"]  # nobody asked
    assert list(roles[HELD_OUT]) == ["dropped", "dropped"]
    assert list(roles[STRANGERS_HELD_OUT]) == ["retain_holdout"] * 3
    assert {what: world.facts[f"near_duplicates_{what}"] for what in counts} == counts
    assert world.facts["num_near_duplicates"] == 4
    assert world.facts["near_duplicates_words"] == f"anna:{word}"


def test_each_request_decides_over_its_own_near_copies(world):
    file(world, "anna", near_duplicates="drop")
    file(world, "ben", near_duplicates="include")
    roles = world.split(requests=["anna", "ben"])
    assert (roles["copy-of-anna"], roles["copy-of-ben"]) == ("dropped", "forget")


def test_of_two_words_for_one_image_the_stricter_holds(world):
    file(world, "anna", near_duplicates="keep")
    file(world, "too", near_duplicates="drop", subject="anna")
    assert world.split(requests=["anna", "too"])["copy-of-anna"] == "dropped"
    file(world, "anna", near_duplicates="include")
    assert world.split(requests=["anna", "too"])["copy-of-anna"] == "forget"
    # two requests, four images
    assert len(world.listed) == 8
    assert world.facts["num_near_duplicates"] == 4


def test_what_was_forgotten_does_not_come_back_by_a_copy(world):
    file(world, "anna", near_duplicates="include")
    file(world, "ben")
    roles = world.split(requests=["ben"], erased=["anna"])
    assert list(roles[["anna", *TRAINED_COPIES]]) == ["erased"] * 3
    assert roles["held-out-copy-of-anna"] == "dropped"
    assert roles["copy-of-ben"] == "retain"
    listed = [roles.iloc[int(line["row"])] for line in world.earlier]  # its copies are judged with it
    assert listed == ["erased"] * len(listed) == roles[roles == "erased"].tolist()
    # ben's copy is of the active request; anna's two in training and the one held out are of the erased one
    assert (world.facts["num_near_duplicates"], world.facts["near_duplicates_of_erased"]) == (1, 3)


def test_the_list_says_what_was_done_and_names_no_one(world):
    file(world, "anna", near_duplicates="drop")
    world.split()
    key = load_key(world.key)
    lines = {line["hmac_id"]: line for line in world.listed}
    first = lines[hmac_id(key, "copy-of-anna")]
    assert first["of_hmac_id"] == hmac_id(key, "anna")
    assert (first["request"], first["word"], first["done"], first["role"]) == ("anna", "drop", "dropped", "dropped")
    assert (first["shard"], first["row"], first["part"]) == ("s.parquet", "3", "train")
    assert (first["hash_bits"], first["correlation"], first["cosine"]) == ("0", "1.000", "")
    text = (world.root / "splits/near_duplicates.csv").read_text()
    assert "copy-of" not in text
    assert len(world.listed) == 4


def test_the_same_split_gives_the_same_bytes(world):
    file(world, "anna", near_duplicates="include")
    names = ("manifest.parquet", "near_duplicates.csv", "summary.json")
    written = []
    for _ in range(2):
        world.split()
        written.append([(world.root / "splits" / name).read_bytes() for name in names])
    assert written[0] == written[1]
    assert json.loads(written[0][2])["near_duplicates_confirmed_by"] == "pixels"


def test_without_the_search_nothing_moves_and_a_word_that_nothing_would_obey_is_refused(world):
    without = {**SEARCH, "search": False}
    file(world, "anna")
    roles = world.split(near_duplicates=without)
    assert list(roles[[*TRAINED_COPIES, *HELD_OUT]]) == ["retain", "retain", "forget_holdout", "retain_holdout"]
    assert world.facts["near_duplicates_confirmed_by"] == "not searched"
    assert world.listed == []
    file(world, "anna", near_duplicates="drop")
    with says(UserError, "'anna'", "near_duplicates: drop", "split.near_duplicates.search is false", "true"):
        world.split(near_duplicates=without)


def test_including_everything_leaves_nothing_to_retain(world):
    (world.root / "images/s.parquet").unlink()
    both = [record("x", picture(1), "train", "x"), record("y", ImageOps.mirror(picture(1)), "train")]
    world.images(*both, name="t")
    file(world, "x", near_duplicates="include")
    with says(UserError, "nothing would be retained", "narrow the selectors"):
        world.split(requests=["x"])


# --- equal bytes ---


@pytest.mark.parametrize(("word", "role"), [("include", "forget"), ("drop", "dropped")])
def test_a_word_settles_copies_of_equal_bytes_even_of_a_blank_page(world, word, role):
    blank = Image.new("L", (40, 40), 255)
    world.images(record("page", blank, "train", "anna"), record("again", blank, "train"), name="t")
    file(world, "anna", near_duplicates=word)
    assert world.split()["again"] == role


def test_under_keep_copies_of_equal_bytes_stay_an_error(world):
    world.images(record("again", picture(1), "train"), name="t")
    file(world, "anna", near_duplicates="keep")
    with says(UserError, "hold the same image", "`near_duplicates: include` (or drop)"):
        world.split()


# --- beside the other settings of the split ---


@pytest.mark.parametrize(("word", "role"), [("include", "forget"), ("drop", "dropped"), ("keep", "proxy_retain")])
def test_a_copy_is_a_proxy_image_only_where_it_is_kept_and_never_a_target_of_the_never_seen(world, word, role):
    file(world, "anna", near_duplicates=word)
    roles = world.split(proxy_labels=["face"], unseen_target_fraction=1.0)
    assert list(roles[TRAINED_COPIES]) == [role, role]
    assert roles["ben"] == "proxy_retain"
    assert list(roles[HELD_OUT]) == ["dropped", "dropped"]
    assert list(roles[STRANGERS_HELD_OUT]) == ["unseen_target"] * 3


def test_a_dropped_copy_takes_no_place_under_a_cap(world):
    file(world, "anna", near_duplicates="drop")
    roles = world.split(retain_cap_per_class=2)
    assert list(roles[TRAINED_COPIES]) == ["dropped", "dropped"]
    assert (roles == "retain").sum() == 2
    assert (roles == "unused").sum() == 3  # of Ben, his copy and three strangers
