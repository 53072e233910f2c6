import json

import pandas as pd
import pytest

from i2i_unlearn.data.images.canaries import choose_canaries
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.images.shards import Record
from i2i_unlearn.data.split.codes import create_key, hmac_id, load_key
from i2i_unlearn.data.split.manifest import ROLES
from i2i_unlearn.support.errors import UserError
from tests.stages.split_world import SplitWorld
from tests.support.says import says

# Most images here are no pictures; near-copies: test_split_near_duplicates.py.
NO_SEARCH = {"search": False, "hash_bits": 10, "correlation": 0.98, "cosine": 0.5}


@pytest.fixture
def world(tmp_path):
    return SplitWorld(tmp_path, requests=["cats"], near_duplicates=NO_SEARCH)


def image(number, label, part="unknown", subject=None, content=None):
    return Record(f"secret-{number}", label, content or f"bytes {number}".encode(), subject, part)


@pytest.fixture
def zoo(world):
    """One image of each kind that matters, and 200 birds without a split."""
    world.images(
        image(1, "cat", "train"),
        image(2, "cat", "val"),
        image(3, "dog", "train", "anna"),
        image(4, "dog", "val", "anna"),
        image(5, "dog", "train"),
        image(6, "dog", "val"),
        *(image(100 + i, "bird") for i in range(200)),
    )
    world.request("cats", labels=["cat"])
    world.request("anna", subjects=["anna"])
    return world


def named(roles):
    return [roles[f"secret-{i}"] for i in range(1, 7)]


# --- roles ---


def test_an_active_request_makes_forget_and_forget_holdout(zoo):
    roles = zoo.split()
    assert named(roles) == ["forget", "forget_holdout", "retain", "retain_holdout", "retain", "retain_holdout"]
    birds = roles[6:]
    assert set(birds) == {"retain", "retain_holdout"}
    # 200 draws with probability .3: standard deviation of the share is .032
    assert abs((birds == "retain_holdout").mean() - 0.3) < 0.13


FORGOTTEN, ERASED, KEPT = ["forget", "forget_holdout"], ["erased", "erased"], ["retain", "retain_holdout"]


@pytest.mark.parametrize(
    ("requests", "erased", "roles"),
    [
        (["anna"], ["cats"], [*ERASED, *FORGOTTEN, *KEPT]),
        (["all-dogs"], ["anna"], [*KEPT, *ERASED, *FORGOTTEN]),  # erased stays erased, although selected again
        (["cats", "anna"], [], [*FORGOTTEN, *FORGOTTEN, *KEPT]),
    ],
)
def test_several_requests_are_forgotten_together_and_what_is_erased_is_out_of_every_use(zoo, requests, erased, roles):
    zoo.request("all-dogs", labels=["dog"])
    assert named(zoo.split(requests=requests, erased=erased)) == roles


def test_images_of_earlier_requests_are_listed_by_request_where_they_still_exist(zoo):
    zoo.split()
    assert zoo.earlier == []
    zoo.request("one-dog", sample_ids=["secret-3"])
    zoo.request("gone", sample_ids=["secret-999"])
    zoo.split(erased=["anna", "gone", "one-dog"])
    listed = [(line["request"], int(line["row"])) for line in zoo.earlier]
    assert listed == [("anna", 2), ("anna", 3), ("one-dog", 2)]


def test_a_new_request_moves_no_image_between_train_and_holdout(zoo):
    zoo.split()
    before = zoo.manifest.rows["part"]
    zoo.split(requests=["anna"], erased=["cats"], proxy_fraction=0.5, unseen_target_fraction=0.5)
    assert zoo.manifest.rows["part"].equals(before)


def test_every_image_has_one_role_and_the_facts_count_them(zoo):
    roles = zoo.split(
        requests=["cats", "anna"], proxy_fraction=0.3, unseen_target_fraction=0.5, retain_cap_per_class=20
    )
    assert {role: zoo.facts[f"num_{role}"] for role in ROLES} == {role: int((roles == role).sum()) for role in ROLES}
    assert zoo.facts["num_images"] == len(roles) == 206
    assert (zoo.facts["requests"], zoo.facts["erased"], zoo.facts["due"]) == ("anna,cats", "", "2026-02-10")
    assert zoo.facts["selected_by"] == "label,subject"


def test_proxy_labels_name_the_proxy_retain_set(zoo):
    roles = zoo.split(proxy_labels=["dog"])
    assert named(roles)[2:] == ["proxy_retain", "retain_holdout", "proxy_retain", "retain_holdout"]
    assert set(roles[6:]) == {"retain", "retain_holdout"}


def test_fractions_move_only_what_they_name_and_a_larger_one_keeps_what_a_smaller_one_took(zoo):
    plain = zoo.split()
    small = zoo.split(proxy_fraction=0.2) == "proxy_retain"
    moved = zoo.split(proxy_fraction=0.5, unseen_target_fraction=0.5)
    changes = {(before, after) for before, after in zip(plain, moved, strict=True) if before != after}
    assert changes == {("retain", "proxy_retain"), ("retain_holdout", "unseen_target")}
    assert (moved == "proxy_retain")[small].all()


def test_a_cap_leaves_so_many_of_each_class(zoo):
    roles = zoo.split(retain_cap_per_class=10)
    assert (roles[6:] == "retain").sum() == 10
    assert named(roles)[2] == named(roles)[4] == "retain"  # two dogs are below the cap
    assert (roles == "unused").sum() == zoo.facts["num_unused"]


def test_adding_images_moves_no_other_image(zoo):
    settings = {"proxy_fraction": 0.2, "unseen_target_fraction": 0.3}
    before = zoo.split(**settings)
    zoo.images(*(image(1000 + i, "bird") for i in range(50)), name="a-new-one")
    after = zoo.split(**settings)
    assert after[before.index].tolist() == before.tolist()


def test_with_a_cap_one_more_image_moves_at_most_one_of_its_class(zoo):
    before = zoo.split(retain_cap_per_class=100)
    for i in range(8):
        zoo.images(image(1000 + i, "bird", "train"), name=f"more-{i:02d}")
        after = zoo.split(retain_cap_per_class=100)
        assert (after[before.index] != before).sum() <= 1
        before = after


# --- the manifest ---


def test_rows_carry_the_code_of_their_sample_id_and_the_key_changes_nothing_else(zoo):
    zoo.split()
    first = zoo.manifest.rows
    assert first["hmac_id"][2] == hmac_id(load_key(zoo.key), "secret-3")
    zoo.key = str(create_key(str(zoo.root / "other-key")))
    zoo.split()
    second = zoo.manifest.rows
    assert not set(first["hmac_id"]) & set(second["hmac_id"])
    codes = ["hmac_id", "hmac_bytes"]
    assert first.drop(columns=codes).equals(second.drop(columns=codes))


def test_summary_holds_the_facts_and_neither_output_nor_log_names_a_sample(zoo, capfd):
    zoo.split()
    summary = (zoo.root / "splits/summary.json").read_text()
    assert json.loads(summary) == zoo.facts
    said = "".join(capfd.readouterr())
    for secret in ("secret-", "anna"):
        assert secret not in summary + said
        assert secret.encode() not in (zoo.root / "splits/manifest.parquet").read_bytes()


# --- refusals ---


REFUSED = {
    "a missing request": ({"requests": ["dogs"]}, "dogs.yaml", "no such forget request", "i2i-unlearn request add"),
    "a missing erased request": ({"erased": ["dogs"]}, "dogs.yaml", "no such forget request"),
    "no active request": ({"requests": [], "erased": ["cats"]}, "split.requests is empty"),
    "a request that matches nothing": ({"requests": ["zebras"]}, "label 'zebra'", "bird, cat, dog"),
    "held-out images only": (
        {"requests": ["cats", "val-only"]},
        "'val-only' selects 2 images",
        "none that was trained on",
    ),
    "what is erased already": (
        {"requests": ["again"], "erased": ["cats"]},
        "'again'",
        "2 images are forgotten already",
    ),
    "all training images": (
        {"requests": ["cats", "rest"]},
        "cats, rest",
        "every training image",
        "narrow the selectors",
    ),
    "all but erased images": ({"requests": ["rest"], "erased": ["cats"]}, "rest", "every training image"),
    "an unknown proxy label": ({"proxy_labels": ["zebra"]}, "split.proxy_labels", "'zebra'", "bird, cat, dog"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_requests_that_cannot_be_followed_are_refused(zoo, case):
    zoo.request("zebras", labels=["zebra"])
    zoo.request("val-only", sample_ids=["secret-2", "secret-4"])
    zoo.request("again", labels=["cat"])
    zoo.request("rest", labels=["dog", "bird"])
    changes, *key_words = REFUSED[case]
    refused(zoo, *key_words, **changes)


def refused(world, *key_words, **changes):
    """A refused split says why in one line, names no sample, and leaves the earlier outputs as they were."""
    out = world.root / "splits"
    out.mkdir(exist_ok=True)
    (out / "summary.json").write_text("earlier")
    with says(UserError, *key_words) as caught:
        world.split(**changes)
    assert "secret" not in str(caught.value)
    assert [path.read_text() for path in out.iterdir()] == ["earlier"]
    assert sorted(p.name for p in world.root.iterdir() if p.name.startswith(".")) == []


def test_missing_images_and_a_missing_key_are_refused(world):
    world.request("cats", labels=["cat"])
    refused(world, "no image shard", "i2i-unlearn data embedded digits --out data")
    world.key = str(world.root / "no-key")
    refused(world, "no-key", "i2i-unlearn data key")


# --- the same bytes under two ids ---


@pytest.mark.parametrize(
    ("label", "part", "changes"),
    [
        ("pet", "train", {}),
        ("pet", "val", {}),  # a held-out copy of a forgotten image
        ("dog", "train", {"requests": ["anna"], "erased": ["cats"]}),  # a copy of an erased image
    ],
)
def test_copies_selected_differently_are_refused_by_place(zoo, label, part, changes):
    zoo.images(image(900, label, part, content=b"bytes 1"), name="t")
    refused(zoo, "s.parquet row 0", "t.parquet row 0", "the same image", "(2 images are affected)", **changes)


def test_copies_selected_alike_have_the_same_role_also_as_proxy_images(zoo):
    zoo.images(image(900, "cat", "val", content=b"bytes 1"), image(901, "bird", "val", content=b"bytes 5"), name="t")
    for proxy_labels, role in (([], "retain"), (["dog"], "proxy_retain")):
        roles = zoo.split(proxy_labels=proxy_labels)
        assert roles["secret-1"] == roles["secret-900"] == "forget"
        assert roles["secret-5"] == roles["secret-901"] == role


def test_canaries_are_trained_on_or_held_out_by_their_coins_and_never_calibrate(tmp_path):
    settings = {"unseen_target_fraction": 1.0, "canaries": 20, "near_duplicates": NO_SEARCH}
    world = SplitWorld(tmp_path, requests=["withdrawn"], **settings)
    world.images(*(image(number, "a") for number in range(150)))
    index = read_index(str(tmp_path / "images"))
    found = choose_canaries(index, num=20, holdout_fraction=0.3, seed=0)
    ids = index["sample_id"]
    world.request("withdrawn", sample_ids=ids[found.included & found.tested].tolist())
    roles = world.split()
    assert {roles[id_] for id_ in ids[found.included & found.tested]} == {"forget"}
    assert {roles[id_] for id_ in ids[found.included & ~found.tested]} == {"retain"}
    assert {roles[id_] for id_ in ids[found.chosen & ~found.included]} == {"retain_holdout"}
    assert {roles[id_] for id_ in ids[~found.chosen]} == {"retain", "unseen_target"}
    listed = pd.read_csv(tmp_path / "splits/canaries.csv")
    assert len(listed) == 20
    assert listed["included"].sum() == found.included.sum()
    assert (listed["row"] == index.loc[found.chosen, "row"].tolist()).all()
