import datetime
import unicodedata

import pandas as pd
import pytest

from i2i_unlearn.data.request import (
    make_request,
    one_month_after,
    read_ids,
    read_named_requests,
    read_request,
    read_requests,
    request_bytes,
    select,
    write_request,
)
from i2i_unlearn.support.errors import UserError
from tests.support.says import says

INDEX = pd.DataFrame(
    {"sample_id": ["a", "b", "c"], "label": ["cat", "dog", "dog"], "subject": ["anna", None, "ben"]},
)
GOOD = """\
schema_version: 1
id: r1
received: 2026-01-31
due: 2026-02-28
basis: withdrawn consent
selector:
  labels: ["dog"]
"""


def request(**values):
    given = {
        "received": "2026-01-10",
        "due": "2026-02-10",
        "basis": "asked",
        "id": "r1",
        "selector": {"labels": ["dog"]},
    }
    return make_request(**{**given, **values})


def selecting(**selector):
    return request(selector=selector)


# --- files ---


def test_what_was_written_is_what_is_read_and_is_never_overwritten(tmp_path):
    given = request(
        due="2026-05-01",
        extension_reason="many images",
        note="naïve ü",
        near_duplicates="drop",
        selector={"labels": ["03", "yes"], "subjects": ["anna"], "sample_ids": ["x: y"]},
    )
    write_request(given, tmp_path / "r1.yaml")
    assert read_request(tmp_path / "r1.yaml") == given
    with says(UserError, "r1.yaml", "already exists", "choose another id"):
        write_request(request(note="other"), tmp_path / "r1.yaml")
    assert read_request(tmp_path / "r1.yaml") == given


def test_a_hand_written_request_is_read_and_keeps_near_copies_unless_it_says_otherwise(tmp_path):
    (tmp_path / "r1.yaml").write_text(GOOD)
    found = read_request(tmp_path / "r1.yaml")
    assert (found.received, found.due) == (datetime.date(2026, 1, 31), datetime.date(2026, 2, 28))
    assert (found.selector.labels, found.near_duplicates) == (("dog",), "keep")
    assert b"near_duplicates" not in request_bytes(request(near_duplicates="keep"))
    assert b"near_duplicates: include\n" in request_bytes(request(near_duplicates="include"))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("basis: withdrawn consent\n", "", "basis is missing; add it"),
        ("basis:", "reason: x\nbasis:", "reason is not a known key; remove it or correct its name"),
        ("labels:", "label:", "selector.label is not a known key"),
        ('["dog"]', "[3]", "selector.labels.0 Input should be a valid string, write it in quotes"),
        ('labels: ["dog"]', "labels: []", "selector give at least one of labels, subjects, sample_ids, ids_file"),
        ('labels: ["dog"]', "ids_file: ../ids.txt", "must be the name of a file next to"),
        ("schema_version: 1", "schema_version: 2", "schema_version Input should be 1"),
        ("due: 2026-02-28", "due: 2026-03-01", "later than one month after 2026-01-31; give extension_reason"),
        ("due: 2026-02-28", "due: 2026-01-30", "due 2026-01-30 is before received 2026-01-31"),
        ("due: 2026-02-28", "due: soon", "due Input should be a valid date"),
        ("id: r1", "id: r2", "holds the request 'r2'; the file must be named r2.yaml"),
        ("id: r1", "id: R 1", "id String should match pattern"),
        ("id: r1", "id: [", "not valid YAML"),
        ("basis:", "near_duplicates: forget\nbasis:", "near_duplicates Input should be 'include', 'drop' or 'keep'"),
    ],
)
def test_every_fault_of_a_request_file_is_one_line(tmp_path, old, new, fault):
    assert old in GOOD
    (tmp_path / "r1.yaml").write_text(GOOD.replace(old, new))
    with says(UserError, f"{tmp_path / 'r1.yaml'}: ", fault):
        read_request(tmp_path / "r1.yaml")


@pytest.mark.parametrize(
    ("content", "key_words"),
    [
        (None, ("no such forget request", "i2i-unlearn request add")),
        (b"", ("the keys of a forget request", "found NoneType")),
        (b"- a\n", ("the keys of a forget request", "found list")),
        (GOOD.encode() + b"note: caf\xe9\n", ("not valid YAML",)),
        (
            b"id: r1\nnot: x\nselector: {labels: [dog]}\n",  # all faults at once
            ("received is missing", "due is missing", "basis is missing", "not is not a known key"),
        ),
    ],
)
def test_a_file_that_is_no_request_is_told(tmp_path, content, key_words):
    if content is not None:
        (tmp_path / "r1.yaml").write_bytes(content)
    with says(UserError, "r1.yaml: ", *key_words):
        read_request(tmp_path / "r1.yaml")


def test_the_requests_of_a_folder_and_those_that_are_named_come_sorted(tmp_path):
    for id_ in ("b", "c", "a"):
        write_request(request(id=id_), tmp_path / f"{id_}.yaml")
    assert list(read_requests(tmp_path)) == ["a", "b", "c"]
    active, erased = read_named_requests(tmp_path, ["c", "a"], ["b"])
    assert [one.id for one in active] == ["a", "c"]
    assert [one.id for one in erased] == ["b"]


def test_no_active_request_and_an_id_both_active_and_erased_are_told(tmp_path):
    with says(UserError, "split.requests is empty", "i2i-unlearn request add"):
        read_named_requests(tmp_path, [], ["a"])
    with says(UserError, "split.requests", "split.erased", "both name a;", "one of them"):
        read_named_requests(tmp_path, ["a"], ["a", "b"])


def test_faults_of_a_request_made_by_hand_are_one_line():
    with says(UserError, "forget request: ", "id String should match pattern", "basis is missing"):
        make_request(id="Not Good", received="2026-01-10", due="2026-02-10", selector={"labels": ["a"]})


# --- dates ---


@pytest.mark.parametrize(
    ("day", "later"), [("2026-11-02", "2026-12-02"), ("2026-01-31", "2026-02-28"), ("2027-12-31", "2028-01-31")]
)
def test_one_month_later(day, later):
    assert one_month_after(datetime.date.fromisoformat(day)).isoformat() == later


# --- selection ---


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"labels": ["dog"]}, [False, True, True]),
        ({"subjects": ["anna"]}, [True, False, False]),
        ({"sample_ids": ["a", "c"]}, [True, False, True]),
        ({"labels": ["cat"], "subjects": ["ben"]}, [True, False, True]),
    ],
)
def test_a_request_selects_what_any_of_its_entries_names(selector, expected):
    assert select(selecting(**selector), INDEX).tolist() == expected


def test_ids_may_be_in_a_file_next_to_the_request(tmp_path):
    (tmp_path / "ids.txt").write_text("c\n\n  a \n")
    write_request(selecting(ids_file="ids.txt"), tmp_path / "r1.yaml")
    assert select(read_request(tmp_path / "r1.yaml"), INDEX).tolist() == [True, False, True]


@pytest.mark.parametrize(("content", "fault"), [(None, "cannot be read"), ("\n\n", "holds no sample id")])
def test_an_ids_file_that_holds_no_ids_is_refused(tmp_path, content, fault):
    if content is not None:
        (tmp_path / "ids.txt").write_text(content)
    write_request(selecting(ids_file="ids.txt"), tmp_path / "r1.yaml")
    with says(UserError, "ids.txt", fault, "one id per line"):
        read_request(tmp_path / "r1.yaml")


def test_a_label_that_matches_nothing_is_told_unless_the_request_is_fulfilled():
    with says(UserError, "'r1'", "label 'bird'", "cat, dog"):
        select(selecting(labels=["dog", "bird"]), INDEX)
    assert select(selecting(labels=["dog", "bird"]), INDEX, strict=False).tolist() == [False, True, True]


@pytest.mark.parametrize(("column", "word"), [("subjects", "subjects"), ("sample_ids", "sample ids")])
def test_unknown_subjects_and_ids_are_counted_but_not_named(column, word):
    with says(UserError, f"1 of 2 {word} match no image", "entry 2", "i2i-unlearn data list") as caught:
        select(selecting(**{column: ["anna" if column == "subjects" else "a", "mallory"]}), INDEX)
    assert "mallory" not in str(caught.value)
    with says(UserError, f"1 of 2 {word} match no image", "'mallory', entry 2"):
        select(selecting(**{column: ["anna" if column == "subjects" else "a", "mallory"]}), INDEX, quote=True)


def test_a_name_is_found_in_both_spellings_of_its_accents_and_a_near_one_is_named():
    one, two = (unicodedata.normalize(form, "Zo\u00eb") for form in ("NFC", "NFD"))
    index = pd.DataFrame({"sample_id": [f"{one}/1", f"{two}/2", "bob/3"], "label": [one, two, "bob"]})
    index["subject"] = index["label"]
    for name in (one, two):
        assert select(selecting(labels=[name]), index).tolist() == [True, True, False]
        assert select(selecting(subjects=[name]), index).tolist() == [True, True, False]
        assert select(selecting(sample_ids=[f"{name}/2"]), index).tolist() == [False, True, False]
    with says(UserError, "'bob/30', entry 1", "did you mean 'bob/3'?"):
        select(selecting(sample_ids=["bob/30"]), index, quote=True)


def test_an_ids_file_may_begin_with_the_mark_of_a_windows_editor(tmp_path):
    (tmp_path / "ids.txt").write_text("\ufeffa\r\nb\r\n", encoding="utf-8")
    assert read_ids(tmp_path / "ids.txt") == ("a", "b")


def test_a_line_of_an_ids_file_ends_at_a_line_feed_only(tmp_path):
    (tmp_path / "ids.txt").write_text("a\u2028b\nc\x85d\n", encoding="utf-8")
    assert read_ids(tmp_path / "ids.txt") == ("a\u2028b", "c\x85d")


def test_a_request_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        request().note = "x"
