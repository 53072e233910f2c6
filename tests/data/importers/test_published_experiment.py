import random
from collections import Counter

import pytest
import yaml

from i2i_unlearn.config.presets import Preset
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.importers.published_experiment import Protocol, choose
from i2i_unlearn.data.importers.run import ImportSettings, import_protocol
from i2i_unlearn.data.importers.source import Candidate
from i2i_unlearn.support.errors import UserError
from tests.data.importers.published_sets import SYNSETS, write_imagenet, write_places365
from tests.support.says import says

PROTOCOL = {"forget_classes": 2, "retain_classes": 1, "images_per_class": 3, "heldout_per_class": 2}


def candidate(label, split, number):
    def read():
        pytest.fail("an image was opened")

    return Candidate("", f"{split}/{label}/{number}", label, split, read)


ALL = [
    candidate(label, split, number)
    for label in "abcdef"
    for split, count in (("train", 9), ("val", 5))
    for number in range(count)
]


def chosen(candidates=ALL, **changes):
    return choose(lambda: iter(candidates), Protocol(**{**PROTOCOL, **changes}), "set")


def test_classes_and_images_are_as_many_as_the_protocol_says_and_no_prefix_of_a_sorted_list():
    found = chosen()
    assert (len(found.forget), len(found.retain), len(set(found.forget) & set(found.retain))) == (2, 1, 0)
    counts = Counter(tuple(name.split("/")[:2]) for name in found.ids)
    classes = [*found.forget, *found.retain]
    assert counts == {(split, label): n for label in classes for split, n in (("train", 3), ("val", 2))}
    assert found.short == []
    numbers = {name.rpartition("/")[2] for name in chosen(images_per_class=4).ids if name.startswith("train")}
    assert len(numbers) > 4


def test_the_choice_hangs_on_names_alone():
    shuffled = random.Random(0).sample(ALL, len(ALL))
    assert chosen(shuffled) == chosen()
    # Of more images, the same come first; with more classes to retain, the same are forgotten.
    assert chosen().ids < chosen(images_per_class=5).ids
    assert chosen().forget == chosen(retain_classes=3).forget


def test_classes_that_are_short_are_named_and_a_set_without_enough_classes_or_splits_is_refused():
    few = [one for one in ALL if one.label != "b" or one.sample_id.endswith("0")]
    assert chosen(few, forget_classes=3, retain_classes=3).short == ["b"]
    with says(UserError, "set: has 6 classes", "5 to forget and 2 to retain"):
        chosen(forget_classes=5, retain_classes=2)
    with says(UserError, "set: does not mark its training and validation images", "set/train and set/val"):
        chosen([candidate(label, "unknown", 0) for label in "abc"])


@pytest.mark.parametrize("write", [write_imagenet, write_places365])
def test_a_published_set_is_imported_by_its_protocol(write, tmp_path):
    preset = Preset("mini", "", {}, PROTOCOL)
    found, imported = import_protocol(
        write(tmp_path / "set"), tmp_path / "data", preset, ImportSettings(), tell=lambda _: None
    )
    index = read_index(str(tmp_path / "data/images"))
    assert imported.written.num_images == len(index) == 3 * (3 + 2)
    assert set(index["label"]) == {*found.forget, *found.retain}
    assert Counter(index["source_split"]) == {"train": 9, "val": 6}
    assert (tmp_path / "data/mini.forget.txt").read_text().splitlines() == found.forget


@pytest.mark.parametrize(
    ("protocol", "key_words"),
    [
        (None, ("'mini' has no protocol",)),
        ({**PROTOCOL, "forget_classes": 0}, ("'mini'", "protocol.forget_classes", "greater than 0")),
        ({**PROTOCOL, "more": 1}, ("'mini'", "protocol.more", "Extra inputs")),
    ],
)
def test_a_preset_without_protocol_or_with_a_wrong_one_is_told(tmp_path, protocol, key_words):
    with says(UserError, *key_words):
        import_protocol(tmp_path, tmp_path, Preset("mini", "", {}, protocol), ImportSettings(), tell=print)


def test_the_commands_import_and_list_what_to_forget(command_line, tmp_path):
    write_imagenet(tmp_path / "imagenet", train=3, val=2)
    (tmp_path / "presets").mkdir()
    content = {"description": "d", "protocol": PROTOCOL}
    (tmp_path / "presets/mini.yaml").write_text(yaml.safe_dump(content))
    ended = command_line(tmp_path, "data", "protocol", "mini", "imagenet")
    assert ended.code == 0, ended.err
    assert "2 classes to forget, 1 to retain" in ended.out
    assert "request add mini --labels-file data/mini.forget.txt" in ended.out
    assert set((tmp_path / "data/mini.forget.txt").read_text().split()) < set(SYNSETS)
    shown = command_line(tmp_path, "preset", "show", "mini")
    assert yaml.safe_load(shown.out) == content
    ended = command_line(tmp_path, "data", "protocol", "mini", "nowhere")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "nowhere: no such folder" in ended.err
