import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2i_unlearn.data.images.decoding import Reading
from i2i_unlearn.data.images.reading import iter_encoded, read_index
from i2i_unlearn.data.importers.columns import Columns
from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.data.importers.parquet import reading_in
from i2i_unlearn.data.importers.run import ImportSettings, import_images, looked_at
from i2i_unlearn.support.errors import UserError
from tests.support.says import says


def png(value):
    return stored_png(np.full((4, 4), value, np.uint8))


@pytest.fixture
def bring(tmp_path):
    """Import and return the index; `bring.told` holds the lines about broken images."""

    def run(source, **settings):
        run.imported = import_images(source, tmp_path / "data", ImportSettings(**settings), tell=run.told.append)
        return read_index(str(tmp_path / "data/images"))

    run.told = []
    return run


def place(folder, **files):
    """Write files named a__b__c as a/b/c.png."""
    for name, content in files.items():
        path = folder / (name.replace("__", "/") + ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    folder.mkdir(exist_ok=True)
    return folder


def table_file(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


# --- folder per class ---


def test_a_folder_per_class(bring, tmp_path):
    source = place(tmp_path / "pets", dog__b=png(2), cat__a=png(1), cat__deep__c=png(3))
    (source / "cat/.DS_Store").write_bytes(b"x")  # hidden files do not count
    (source / ".cache").mkdir()
    index = bring(source)
    assert index[["shard", "sample_id", "label", "source_split"]].to_numpy().tolist() == [
        ["pets.parquet", "pets/cat/a.png", "cat", "unknown"],
        ["pets.parquet", "pets/cat/deep/c.png", "cat", "unknown"],
        ["pets.parquet", "pets/dog/b.png", "dog", "unknown"],
    ]
    assert list(iter_encoded(str(tmp_path / "data/images"), index)) == [png(1), png(3), png(2)]
    assert index["subject"].isna().all()


def test_imagenets_folders_name_the_split_unless_the_user_does(bring, tmp_path):
    source = place(tmp_path / "net", train__n01__a=png(1), val__n01__b=png(2), test__n02__c=png(3))
    index = bring(source).set_index("sample_id")
    assert index["source_split"].to_dict() == {
        "net/train/n01/a.png": "train",
        "net/val/n01/b.png": "val",
        "net/test/n02/c.png": "val",
    }
    assert index["label"].tolist() == ["n02", "n01", "n01"]
    import_images(source, tmp_path / "other", ImportSettings(source_split="test"), tell=print)
    assert set(read_index(str(tmp_path / "other/images"))["source_split"]) == {"val"}


def test_a_class_may_be_named_like_a_split_beside_other_classes(bring, tmp_path):
    index = bring(place(tmp_path / "toys", train__a=png(1), boat__b=png(2)))
    assert set(index["label"]) == {"train", "boat"}
    assert set(index["source_split"]) == {"unknown"}


def test_two_sources_with_the_same_file_names_keep_their_ids_apart_and_the_same_twice_is_unchanged(bring, tmp_path):
    bring(place(tmp_path / "one", cat__a=png(1)))
    for unchanged in (False, True):
        index = bring(place(tmp_path / "two", cat__a=png(2)))
        assert index["sample_id"].tolist() == ["one/cat/a.png", "two/cat/a.png"]
        assert bring.imported.written.unchanged is unchanged


# --- broken files ---


def test_all_broken_files_are_listed_and_nothing_is_imported_unless_the_user_says_so(bring, tmp_path):
    source = place(tmp_path / "pets", cat__a=png(1), cat__b=png(2)[:60], dog__c=b"", dog__d=png(4))
    with says(UserError, "2 images are broken", "/cat/b.png", "--skip-broken"):
        bring(source)
    assert [line.split(": ")[0].removeprefix(str(tmp_path)) for line in bring.told] == [
        "/pets/cat/b.png",
        "/pets/dog/c.png",
    ]
    assert not list((tmp_path / "data/images").iterdir())
    index = bring(source, skip_broken=True)
    assert index["sample_id"].tolist() == ["pets/cat/a.png", "pets/dog/d.png"]
    assert bring.imported.num_broken == 2


def test_a_file_that_is_no_image_or_whose_name_is_no_text_is_broken(bring, tmp_path):
    source = place(tmp_path / "pets", cat__a=png(1))
    (source / "cat/notes.txt").write_text("about cats")
    with open(os.fsencode(source / "cat") + b"/\xff.png", "wb") as file:
        file.write(png(2))
    bring(source, skip_broken=True)
    assert bring.imported.num_broken == 2
    assert "notes.txt: the image cannot be decoded" in bring.told[0]
    assert "cannot be read" in bring.told[1]


# --- Parquet ---


def test_images_as_plain_bytes_with_missing_columns_filled(bring, tmp_path):
    index = bring(table_file(tmp_path / "scans.parquet", image=[png(1), png(2)]))
    assert index["sample_id"].tolist() == ["scans/scans/00000000", "scans/scans/00000001"]
    assert set(index["label"]) == {"unlabelled"}
    assert set(index["source_split"]) == {"unknown"}
    assert index["subject"].isna().all()


def test_images_as_hugging_face_stores_them(bring, tmp_path):
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    images = pa.array([{"bytes": png(1), "path": "a.png"}, {"bytes": png(2), "path": None}])
    table = pa.table({"image": images, "label": [1, 0]})
    (tmp_path / "hub").mkdir()
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "hub/train-00000-of-00001.parquet")
    index = bring(tmp_path / "hub")
    assert index["label"].tolist() == ["dog", "cat"]
    assert index["source_split"].tolist() == ["train", "train"]
    assert list(iter_encoded(str(tmp_path / "data/images"), index)) == [png(1), png(2)]


def test_columns_that_are_there_are_kept(bring, tmp_path):
    source = table_file(
        tmp_path / "x.parquet",
        image=[png(1), png(2)],
        sample_id=["p", "q"],
        label=["cat", None],
        subject=[None, "ben"],
        source_split=["test", None],
    )
    index = bring(source)
    assert index["sample_id"].tolist() == ["p", "q"]
    assert index["label"].tolist() == ["cat", "unlabelled"]
    assert index["subject"].fillna("-").tolist() == ["-", "ben"]
    assert index["source_split"].tolist() == ["val", "unknown"]


@pytest.mark.parametrize(
    ("stem", "split"),
    [
        ("cifar10-train", "train"),
        ("cifar10-test", "val"),
        ("validation-00000-of-00002", "val"),
        ("imagenet_val-00000-of-00002", "val"),
        ("train_images.part.3", "train"),
        ("test_tube-0", "unknown"),
        ("trainees", "unknown"),
    ],
)
def test_the_file_name_names_the_split(bring, tmp_path, stem, split):
    assert bring(table_file(tmp_path / f"{stem}.parquet", image=[png(1)]))["source_split"].tolist() == [split]


def test_columns_may_have_other_names(bring, tmp_path):
    source = table_file(tmp_path / "x.parquet", img=[png(1)], fine=[7], key=["k"], who=["anna"])
    index = bring(source, columns=Columns(image="img", sample_id="key", label="fine", subject="who"))
    assert index[["sample_id", "label", "subject"]].to_numpy().tolist() == [["k", "7", "anna"]]


def test_rows_without_bytes_are_broken(bring, tmp_path):
    images = pa.array([{"bytes": png(1), "path": "a"}, {"bytes": None, "path": "b"}, None])
    bring(table_file(tmp_path / "x.parquet", image=images), skip_broken=True)
    assert [line.partition("x.parquet ")[2] for line in bring.told] == [
        "row 1: cannot be read (the table holds no bytes for it)",
        "row 2: cannot be read (the table holds no bytes for it)",
    ]


def test_a_shard_can_be_imported_as_it_is(bring, tmp_path):
    first = bring(table_file(tmp_path / "x.parquet", image=[png(1)], label=["cat"], subject=["anna"]))
    path = tmp_path / "data/images/x.parquet"
    imported = import_images(path, tmp_path / "other", ImportSettings(), tell=print)
    assert read_index(str(tmp_path / "other/images")).equals(first)
    assert imported.written.paths[0].read_bytes() == path.read_bytes()


def test_shards_in_a_folder_keep_how_they_are_read_and_differing_ones_are_refused(bring, tmp_path):
    place(tmp_path / "one", a=png(1))
    place(tmp_path / "two", b=png(2))
    for name, bits in (("one", 12), ("two", 12), ("three", 16)):
        source = tmp_path / ("one" if name == "one" else "two")
        kept = ImportSettings(name=name, reading=Reading(exif_orientation=False, bits=bits))
        import_images(source, tmp_path / ("old" if bits == 12 else "odd"), kept, tell=print)
    shards = tmp_path / "old/images"
    bring(shards, name="again")
    assert reading_in(tmp_path / "data/images/again.parquet") == Reading(exif_orientation=False, bits=12)
    (tmp_path / "odd/images/three.parquet").rename(shards / "three.parquet")
    for look in (looked_at, bring):
        with says(UserError, "one.parquet", "three.parquet", "differently", "on its own"):
            look(shards, ImportSettings()) if look is looked_at else look(shards, name="x")


# --- what does not fit ---


def pets(at):
    return place(at / "pets", cat__a=png(1))


def scans(at, **columns):
    return table_file(at / "x.parquet", **{"image": [png(1)], **columns})


def odd_columns(at):
    return table_file(at / "x.parquet", img=[png(1)], n=[1])


def truncated(at):
    path = scans(at)
    path.write_bytes(path.read_bytes()[:-9])
    return path


@pytest.mark.parametrize(
    ("make", "settings", "key_words"),
    [
        *(
            (pets, {"name": name}, (repr(name), "not allowed", "--name"))
            for name in ("a/b", "*", "a?", "[ab]", ".hidden", "..", "a b", "\u00e9", "a\n")
        ),
        (pets, {"source_split": "best"}, ("'best'", "choose one of: train")),
        (pets, {"layout": "parquet"}, ("pets", "no Parquet file", "give a file")),
        (lambda at: at / "nowhere", {}, ("nowhere: no such file or folder",)),
        (lambda at: place(at / "flat"), {}, ("flat: holds no image file", "flat/CLASS/image.jpg")),
        (lambda at: place(at, cat__a=png(1), loose=png(2)), {}, ("loose.png", "no class folder", "move it")),
        (scans, {"layout": "folder"}, ("x.parquet: is a file", "one folder per class")),
        (lambda at: scans(at, source_split=["holdback"]), {}, ("row 0", "'holdback'", "train")),
        (lambda at: scans(at, image=[png(1)] * 2, sample_id=["a"] * 2), {}, ("sample id 'a' occurs twice",)),
        (truncated, {}, ("x.parquet", "damaged or not a Parquet file", "fetch it again")),
        (odd_columns, {}, ("x.parquet", "no column 'image'", "img, n", "--image-column")),
        (odd_columns, {"columns": Columns(image="img", sample_id="key")}, ("no column 'key'", "--id-column")),
        (odd_columns, {"columns": Columns(image="img", label="fine")}, ("no column 'fine'", "--label-column")),
        (odd_columns, {"columns": Columns(image="n")}, ("x.parquet", "column 'n'", "int64", "encoded files")),
    ],
)
def test_a_source_or_a_setting_that_does_not_fit_is_told(bring, tmp_path, make, settings, key_words):
    (tmp_path / "source").mkdir()
    with says(UserError, *key_words):
        bring(make(tmp_path / "source"), **settings)
    assert not list((tmp_path / "data").rglob("*.parquet"))


# --- memory ---

PEAK_MEMORY = """
    import sys
    from i2i_unlearn.data.importers.run import ImportSettings, import_images
    imported = import_images(sys.argv[1], sys.argv[2], ImportSettings(), tell=print)
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(imported.written.num_images, int(peak.split()[1]) * 1024)
"""


def import_apart(source, out):
    command = [sys.executable, "-c", textwrap.dedent(PEAK_MEMORY), str(source), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read from /proc")
@pytest.mark.parametrize("layout", ["folder", "parquet"])
def test_memory_does_not_grow_with_the_number_of_images(tmp_path, layout):
    # 3 images of 30 kB, many times over: 3,000 more of them are 90 MB. Both counts fill every buffer.
    rng = np.random.default_rng(0)
    kinds = [stored_png(rng.integers(0, 256, (100, 100, 3), dtype=np.uint8)) for _ in range(3)]
    peaks = {}
    for count in (1500, 4500):
        source = tmp_path / f"{layout}-{count}"
        if layout == "folder":
            (source / "cat").mkdir(parents=True)
            for i, content in enumerate(kinds):
                (source / f"cat/{i}.png").write_bytes(content)
            for i in range(3, count):
                os.link(source / f"cat/{i % 3}.png", source / f"cat/{i}.png")
        else:
            source = source.with_suffix(".parquet")
            table = pa.table({"image": [kinds[i % 3] for i in range(count)]})
            pq.write_table(table, source, row_group_size=100, use_dictionary=False)
        imported, peaks[count] = import_apart(source, tmp_path / f"out-{layout}-{count}")
        assert imported == count
    print({count: peak // 2**20 for count, peak in peaks.items()})
    assert peaks[4500] - peaks[1500] < 30 * 2**20
