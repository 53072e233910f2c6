"""What an import takes for classes, splits and persons: layouts as people have them, and those that are refused."""

import json
import os
import unicodedata
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.importers.columns import Columns
from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.data.importers.run import ImportSettings, import_images, looked_at
from i2i_unlearn.data.importers.source import split_of
from i2i_unlearn.data.request import make_request, select
from i2i_unlearn.support.errors import UserError
from tests.support.says import says

PNG = stored_png(np.full((4, 4), 7, np.uint8))


def place(folder, *files):
    """Write pictures, or what `name: content` says, below `folder`."""
    for file in files:
        name, _, content = file.partition(": ")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if content else PNG)
    return folder


def table(path, metadata=None, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    made = pa.table({"image": [PNG] * len(next(iter(columns.values()), [0])), **columns})
    pq.write_table(made.replace_schema_metadata(metadata), path)
    return path


@pytest.fixture
def bring(tmp_path):
    """Import; the rows (id, label, split) of the index, and its lines in `bring.lines`."""

    def run(source, **settings):
        run.lines = []
        import_images(source, tmp_path / "data", ImportSettings(**settings), tell=print, look=run.lines.append)
        run.index = read_index(str(tmp_path / "data/images"))
        assert run.lines == looked_at(source, ImportSettings(**settings))
        return {row.sample_id: (row.label, row.source_split) for row in run.index.itertuples()}

    return run


# --- splits of folders ---


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Training", "TRAIN", "train2017", "train_images", "trainval")),
        *((name, "val") for name in ("val2017", "Test", "eval", "Evaluation", "hold-out", "held_out", "test-set")),
        *((name, None) for name in ("trainees", "testimony", "test tube", "cat", "2017", "images", "extra")),
    ],
)
def test_the_words_for_splits_are_known_in_any_spelling(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["Training/cat/a", "Test/cat/b"], {"Training/cat/a": ("cat", "train"), "Test/cat/b": ("cat", "val")}),
        (["train2017/cat/a", "val2017/cat/b"], {"train2017/cat/a": ("cat", "train"), "val2017/cat/b": ("cat", "val")}),
        (["cat/train/a", "cat/test/b"], {"cat/train/a": ("cat", "train"), "cat/test/b": ("cat", "val")}),
        (["set/train/cat/a", "set/val/cat/b"], {"set/train/cat/a": ("cat", "train"), "set/val/cat/b": ("cat", "val")}),
        (["train/cat/a", "test/b"], {"train/cat/a": ("cat", "train"), "test/b": ("unlabelled", "val")}),
        (["images/train/a", "images/val/b", "labels/train/a.txt: x", "labels/val/b.txt: x"],
         {"images/train/a": ("unlabelled", "train"), "images/val/b": ("unlabelled", "val")}),
        (["train/a", "val/b"], {"train/a": ("unlabelled", "train"), "val/b": ("unlabelled", "val")}),
        (["a", "b"], {"a": ("unlabelled", "unknown"), "b": ("unlabelled", "unknown")}),
        (["train/cat/a", "eval/cat/b", "__MACOSX/train/._a: x", "docs/readme.md: x", ".git/c: x"],
         {"train/cat/a": ("cat", "train"), "eval/cat/b": ("cat", "val")}),
    ],
)  # fmt: skip
def test_classes_and_splits_are_read_from_folders(bring, tmp_path, files, expected):
    files = [file if ": " in file else f"{file}.png" for file in files]
    assert bring(place(tmp_path / "s", *files)) == {f"s/{file}.png": what for file, what in expected.items()}


@pytest.mark.parametrize(
    ("files", "key_words"),
    [
        (["train/cat/a.png", "test/cat/b.png", "extra/cat/c.png"], ("s/extra", "train", "--source-split")),
        (["train/a.png", "test/b.png", "extra/c.png"], ("s/extra", "next to test, train")),
        (["cat/train/a.png", "cat/test/b.png", "dog/c.png"], ("s/cat", "s/dog does not", "on its own")),
        (["one/train/cat/a.png", "two/train/cat/a.png"], ("s/one", "2 such sets", "on its own")),
        (["train/cat/a.png", "train/b.png"], ("s/train/b.png", "no class folder", "move it")),
        (["notes.zip: x"], ("notes.zip", "archive", "unzip notes.zip -d notes")),
        ([".hidden.png"], ("s: holds no image file",)),
        (["train/data-00000-of-00001.arrow: x"], ("data-00000-of-00001.arrow", "save_to_disk", "to_parquet")),
    ],
)
def test_what_is_between_two_layouts_is_refused(bring, tmp_path, files, key_words):
    with says(UserError, *key_words):
        bring(place(tmp_path / "s", *files))
    assert not list((tmp_path / "data").rglob("*.parquet"))


def test_what_is_taken_and_what_is_not_is_told_before_anything_is_written(bring, tmp_path):
    captions = ["train/cat/a.txt: a cat", "train/cat/a.png.txt: a cat", "train/cat/a.png.more.txt: a cat"]
    files = ["train/cat/a.png", *captions, "train/dog/b.png", "val/dog/c.png", "__MACOSX/x: y"]
    bring(place(tmp_path / "s", *files))
    assert bring.lines == [
        f"{tmp_path}/s: folder per class, 3 images",
        "classes: 2 (cat 1, dog 2)",
        "splits: train 2, val 1",
        "persons: none",
        "not used, hidden or left by a system: __MACOSX",
        "not used: 3 files, *.txt next to pictures",
    ]


def test_two_spellings_of_a_folders_name_are_one_class_with_all_ids(bring, tmp_path):
    one, two = (unicodedata.normalize(form, "Zo\u00eb") for form in ("NFC", "NFD"))
    found = bring(place(tmp_path / "s", f"{one}/a.png", f"{two}/a.png"))
    assert found == {f"s/{one}/a.png": (one, "unknown"), f"s/{two}/a.png": (one, "unknown")}


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar.gz", "photos.tgz", "photos.7z"])
def test_an_archive_is_named_as_what_it_is(bring, tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    with says(UserError, f"{name}: is an archive", "unpack it"):
        bring(tmp_path / name, name="x")


@pytest.mark.parametrize(
    ("name", "what"), [("a.png", "is a picture"), ("a.txt", "no table (.csv"), ("a.npz", "arrays")]
)
def test_any_other_file_is_named_as_what_it_is(bring, tmp_path, name, what):
    (tmp_path / name).write_bytes(PNG)
    with says(UserError, name, what):
        bring(tmp_path / name)


def test_a_link_to_a_folder_around_it_is_refused(bring, tmp_path):
    source = place(tmp_path / "s", "cat/a.png")
    os.symlink("..", source / "cat/up")
    with says(UserError, "s/cat/up", "a link to a folder that it is in", "remove it"):
        bring(source)


def test_a_link_to_a_folder_whose_name_begins_alike_is_followed(bring, tmp_path):
    place(tmp_path / "cats", "a.png")
    source = place(tmp_path / "cats2", "old/b.png")
    os.symlink(tmp_path / "cats", source / "more")
    assert bring(source) == {"cats2/more/a.png": ("more", "unknown"), "cats2/old/b.png": ("old", "unknown")}


# --- Parquet next to pictures, hidden, partitioned ---


def test_pictures_and_parquet_of_images_in_one_folder_ask_which_are_meant(bring, tmp_path):
    source = place(tmp_path / "s", "cat/a.png", "dog/b.png")
    table(source / "preview.parquet", label=["cow"])
    with says(UserError, "pictures", "preview.parquet", "--layout folder or --layout parquet"):
        bring(source)
    assert {label for label, _ in bring(source, layout="folder").values()} == {"cat", "dog"}
    assert {label for label, _ in bring(source, layout="parquet", name="p").values()} == {"cat", "dog", "cow"}


def test_hidden_parquet_and_parquet_without_images_are_not_the_source(bring, tmp_path):
    source = place(tmp_path / "s", "cat/a.png", "._x.parquet: AppleDouble")
    table(source / ".cache/old.parquet", label=["cow"])
    pq.write_table(pa.table({"vector": [[1.0]]}), source / "embeddings.parquet")
    assert bring(source) == {"s/cat/a.png": ("cat", "unknown")}
    hub = tmp_path / "hub"
    table(hub / "TRAIN.PARQUET", label=["cat"])
    table(hub / ".ipynb_checkpoints/TRAIN-checkpoint.parquet", label=["cow"])
    table(hub / "_temporary/0.parquet", label=["cow"])
    assert {what for id_, what in bring(hub).items() if id_.startswith("hub")} == {("cat", "train")}
    assert any("2 Parquet files that are hidden" in line for line in bring.lines)


def test_the_hubs_folders_name_the_split_and_ids_are_unique(bring, tmp_path):
    for split in ("train", "test"):
        table(tmp_path / f"s/default/{split}/0000.parquet", label=["cat"])
    assert bring(tmp_path / "s") == {
        "s/default/test/0000/00000000": ("cat", "val"),
        "s/default/train/0000/00000000": ("cat", "train"),
    }
    table(tmp_path / "t/train-and-test.parquet", label=["cat"])
    with says(UserError, "train-and-test.parquet", "train, test", "--source-split"):
        bring(tmp_path / "t")


def test_partitions_are_columns(bring, tmp_path):
    for label in ("cat", "two words%2F2"):
        table(tmp_path / f"s/label={label}/subject=ann/part-0.parquet", n=[1])
    table(tmp_path / "s/label=__HIVE_DEFAULT_PARTITION__/subject=bob/part-0.parquet", n=[1])
    assert sorted(label for label, _ in bring(tmp_path / "s").values()) == ["cat", "two words/2", "unlabelled"]
    assert sorted(bring.index["subject"]) == ["ann", "ann", "bob"]
    assert "not used: columns n of the table" in bring.lines


# --- cells ---

FEATURES = '{"info": {"features": {"label": %s}}}'
NAMES = '{"names": ["cat", "dog"], "_type": "ClassLabel"}'


@pytest.mark.parametrize(
    ("values", "metadata", "expected"),
    [
        (pa.array([["cat", "dog"], [], None, ["dog"]]), None, ["cat", "unlabelled", "unlabelled", "dog"]),
        (pa.array([1.0, float("nan"), 3.0]), None, ["1", "unlabelled", "3"]),
        (pa.array([b"cat", b"", None]), None, ["cat", "unlabelled", "unlabelled"]),
        (pa.array(["cat", "dog", "cat"]).dictionary_encode(), None, ["cat", "dog", "cat"]),
        (pa.array([1, -1, 0]), FEATURES % NAMES, ["dog", "unlabelled", "cat"]),
        (pa.array([[1, 0], [-1]]), FEATURES % f'{{"feature": {NAMES}, "_type": "Sequence"}}', ["dog", "unlabelled"]),
        (pa.array([[0]]), FEATURES % f"[{NAMES}]", ["cat"]),
        (pa.array([Decimal("3.0")]), None, ["3"]),
        (pa.array(["  ", "cat"]), None, ["unlabelled", "cat"]),
        (pa.array([True, False]), None, ["True", "False"]),
    ],
)
def test_cells_of_every_type_become_names(bring, tmp_path, values, metadata, expected):
    metadata = {"huggingface": metadata} if metadata else None
    found = bring(table(tmp_path / "s.parquet", metadata, label=values))
    assert [label for label, _ in found.values()] == expected


@pytest.mark.parametrize(
    ("values", "metadata", "key_words"),
    [
        (pa.array([0.5]), None, ("0.5", "not whole")),
        (pa.array([float("inf")]), None, ("inf", "not whole")),
        (pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())), None, ("a map",)),
        (pa.array([b"\xff"]), None, ("not text in UTF-8",)),
        (pa.array([{"id": 1, "name": "cat"}]), None, ("structs", "NAME.id, NAME.name")),
        (pa.array([5]), FEATURES % NAMES, ("number 5", "only 2 classes")),
    ],
)
def test_a_cell_that_is_no_name_is_refused(bring, tmp_path, values, metadata, key_words):
    with says(UserError, "s.parquet row 0: --label-column 'label'", *key_words):
        bring(table(tmp_path / "s.parquet", {"huggingface": metadata} if metadata else None, label=values))


def test_a_field_of_structs_can_be_named(bring, tmp_path):
    objects = pa.array([[{"category": "cat", "id": 1}, {"category": "dog", "id": 2}], []])
    found = bring(table(tmp_path / "s.parquet", objects=objects), columns=Columns(label="objects.category"))
    assert [label for label, _ in found.values()] == ["cat", "unlabelled"]
    assert bring.index["more_labels"].map(list).tolist() == [["dog"], []]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_field_of_structs_names_split_id_and_file_in_tables_too_and_must_be_there(bring, tmp_path, kind):
    source = place(tmp_path / "s", "a.png", "b.png")
    rows = [
        {"meta": {"file": "a.png", "split": "test", "key": "x\u2028y"}},
        {"meta": {"file": "b.png", "split": None, "key": None}},
    ]
    if kind == "jsonl":
        (source / "metadata.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), source / "metadata.parquet")
    columns = Columns(image="meta.file", source_split="meta.split", sample_id="meta.key")
    expected = {"x\u2028y": ("unlabelled", "val"), "s/b.png": ("unlabelled", "unknown")}
    assert bring(source, columns=columns) == expected
    with says(UserError, "no column 'meta.splitt'", "meta.split", "--split-column"):
        bring(source, columns=replace(columns, source_split="meta.splitt"))


def test_a_field_that_the_images_table_does_not_have_is_refused(bring, tmp_path):
    source = table(tmp_path / "s.parquet", objects=pa.array([[{"category": "cat"}], None]))
    with says(UserError, "no column 'objects.categry'", "objects.category", "--label-column"):
        bring(source, columns=Columns(label="objects.categry"))


def test_columns_that_look_like_labels_or_persons_are_named(bring, tmp_path):
    source = table(tmp_path / "s.parquet", fine_label=[0], coarse_label=[1], person_id=["p"], split=["test"])
    assert bring(source, columns=Columns(source_split="split"))["s/s/00000000"] == ("unlabelled", "val")
    bring(source, name="again")
    assert bring.lines[4:] == [
        "the table has no column 'label'; give --label-column fine_label, --label-column coarse_label if that is meant",
        "the table has no column 'source_split'; give --split-column split if that is meant",
        "the table has no column 'subject'; give --subject-column person_id if that is meant",
        "not used: columns fine_label, coarse_label, person_id, split of the table",
    ]


# --- tables that say what pictures show ---


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name,label,subject\na.png,cat,ann\nb.png,dog,\n"),
        ("metadata.jsonl", '{"file": "a.png", "label": "cat", "subject": "ann"}\n\n{"file": "b.png", "label": "dog"}'),
        ("persons.csv", "\ufefflabel;subject;image_id\r\ncat;ann;a\r\ndog;;b\r\n"),
        ("list.tsv", "label\tsubject\tpath\ncat\tann\t./a.png\ndog\t\tb.png\n"),
    ],
)  # fmt: skip
def test_a_table_next_to_pictures_says_what_they_show(bring, tmp_path, name, content):
    source = place(tmp_path / "s", "a.png", "b.png", f"{name}: {content}")
    assert bring(source) == {"s/a.png": ("cat", "unknown"), "s/b.png": ("dog", "unknown")}
    assert bring.index["subject"].fillna("-").tolist() == ["ann", "-"]
    as_source = bring(source / name, name="l")
    assert {id_: as_source[id_] for id_ in as_source if id_.startswith("l/")} == {
        "l/a.png": ("cat", "unknown"),
        "l/b.png": ("dog", "unknown"),
    }


def test_rows_of_one_file_are_put_together_and_a_request_finds_each_name(bring, tmp_path):
    content = "file,label,subject\na.png,cat,ann\na.png,dog,bob\nb.png,cat,bob\n"
    bring(place(tmp_path / "s", "a.png", "b.png", f"who.csv: {content}"))
    assert "classes: 2 (cat 2, dog 1); some images have several classes or persons" in bring.lines
    assert "persons: 2 (ann 1, bob 2)" in bring.lines
    for selector, expected in (
        ({"labels": ["dog"]}, [True, False]),
        ({"labels": ["cat"]}, [True, True]),
        ({"subjects": ["ann"]}, [True, False]),
        ({"subjects": ["bob"]}, [True, True]),
    ):
        request = make_request(id="r", received="2026-01-10", due="2026-02-10", basis="x", selector=selector)
        assert select(request, bring.index).tolist() == expected


def test_a_table_may_name_files_of_class_folders_and_adds_to_what_they_say(bring, tmp_path):
    source = place(tmp_path / "s", "cat/a.png", "dog/b.png", "who.csv: file,subject,age\ncat/a.png,ann,3\n")
    assert bring(source) == {"s/cat/a.png": ("cat", "unknown"), "s/dog/b.png": ("dog", "unknown")}
    assert bring.index["subject"].fillna("-").tolist() == ["ann", "-"]
    assert bring.lines[4:] == [
        "not used: columns age of who.csv",
        "who.csv: column file names the files",
        "1 images are named in no table",
    ]


def test_several_tables_add_up_and_an_image_may_be_in_neither(bring, tmp_path):
    tables = ["a.csv: file,label\na.png,cat\n", "b.csv: file,subject\na.png,ann\nb.png,bob\n"]
    found = bring(place(tmp_path / "s", "a.png", "b.png", "c.png", *tables))
    assert [label for label, _ in found.values()] == ["cat", "unlabelled", "unlabelled"]
    assert bring.index["subject"].fillna("-").tolist() == ["ann", "bob", "-"]
    assert "classes: 1 (cat 1); 2 images without a class" in bring.lines


def test_each_split_may_have_a_table_of_its_own(bring, tmp_path):
    files = [
        f"{split}/{file}"
        for split in ("train", "test")
        for file in ("a.png", "metadata.csv: file_name,label\na.png,cat")
    ]
    assert bring(place(tmp_path / "s", *files)) == {"s/train/a.png": ("cat", "train"), "s/test/a.png": ("cat", "val")}


def test_tables_in_and_below_class_folders_are_read_and_are_no_images(bring, tmp_path):
    tables = [
        f"{place}/metadata.csv: file_name,subject\na.png,{who}" for place, who in (("cat", "ann"), ("dog/x", "bob"))
    ]
    source = place(tmp_path / "s", "cat/a.png", "dog/x/a.png", "dog/b.png", *tables, "dog/sizes.csv: width\n3\n")
    assert {key: label for key, (label, _) in bring(source).items()} == {
        "s/cat/a.png": "cat",
        "s/dog/b.png": "dog",
        "s/dog/x/a.png": "dog",
    }
    assert bring.index.set_index("sample_id")["subject"].fillna("-").to_dict() == {
        "s/cat/a.png": "ann",
        "s/dog/b.png": "-",
        "s/dog/x/a.png": "bob",
    }
    assert "not used: sizes.csv, no column of it names files here (width)" in bring.lines
    assert bring.lines.count("metadata.csv: column file_name names the files") == 1


@pytest.mark.parametrize(
    ("files", "key_words"),
    [
        (["a.png", "b.png", "m.csv: file,label\na.png,x\nb.png,y\nc.png,z"], ("1 images are broken", "m.csv row 3")),
        (["a.png", "m.csv: file,label\na.png"], ("m.csv, line 2", "1 cells", "2")),
        (["a.png", "m.csv: file,file\na.png,x"], ("m.csv, line 1", "repeated")),
        (["a.png", "m.jsonl: {"], ("m.jsonl, line 1", "not JSON")),
        (["a.png", "m.csv: file,source_split\na.png,best"], ("m.csv row 1", "'best'", "train")),
    ],
)
def test_a_table_that_does_not_fit_is_told(bring, tmp_path, files, key_words):
    with says(UserError, *key_words):
        bring(place(tmp_path / "s", *files))


def test_a_table_that_names_no_files_is_told_and_not_used(bring, tmp_path):
    bring(place(tmp_path / "s", "cat/a.png", "classes.csv: id,text\n0,a cat"))
    assert bring.lines[-1] == "not used: classes.csv, no column of it names files here (id, text)"


def test_a_column_is_not_asked_for_where_there_is_no_table(bring, tmp_path):
    with says(UserError, "has no table", "'breed'"):
        bring(place(tmp_path / "s", "cat/a.png"), columns=Columns(label="breed"))


def test_a_list_of_files_elsewhere_is_refused_where_it_is_unclear(bring, tmp_path):
    source = place(tmp_path / "s", "../a.png", "none.csv: x,y\n1,2", "out.csv: file\n../a.png", "empty.csv: file\n")
    place(source, f"whole.csv: file\n{tmp_path}/a.png", "b.png", f"inside.csv: file\n{source}/b.png")
    assert bring(source / "inside.csv") == {"inside/b.png": ("unlabelled", "unknown")}
    for name, key_words in (
        ("none", ("no column names files", "x, y", "--image-column")),
        ("out", ("row 1",)),
        ("whole", ("row 1", "below the table's folder")),
        ("empty", ("no row",)),
    ):
        with says(UserError, f"{name}.csv", *key_words):
            bring(source / f"{name}.csv")
