import pytest

from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.importers.run import ImportSettings, import_images
from i2i_unlearn.support.errors import UserError
from tests.data.importers.published_sets import write_places365
from tests.support.says import says


@pytest.fixture
def source(tmp_path):
    return write_places365(tmp_path / "places", train=2, val=1)


def imported(source, out, **settings):
    import_images(source, out, ImportSettings(name="p", **settings), tell=print)
    return read_index(str(out / "images"))


@pytest.mark.parametrize("folders", [("data_256_standard", "val_256"), ("data_large_standard", "val_large")])
def test_lists_name_files_labels_and_splits(source, tmp_path, folders):
    for written, folder in zip(("data_256_standard", "val_256"), folders, strict=True):
        (source / written).rename(source / folder)
    index = imported(source, tmp_path / "data")
    rows = set(zip(index["sample_id"], index["label"], index["source_split"], strict=True))
    assert len(rows) == 4 * 3
    assert {
        ("p/train/a/airfield/00000001.jpg", "airfield", "train"),
        ("p/train/a/apartment_building/outdoor/00000002.jpg", "apartment_building/outdoor", "train"),
        ("p/val/Places365_val_00000003.jpg", "bakery/shop", "val"),
    } <= rows


def test_a_split_may_be_left_out_and_overruled(source, tmp_path):
    (source / "places365_val.txt").unlink()
    assert set(imported(source, tmp_path / "data", source_split="unknown")["source_split"]) == {"unknown"}


@pytest.mark.parametrize(
    ("change", "key_words"),
    [
        (lambda text: text.replace(b" 0\n", b" 9\n"), ("line 1", "category 9 is not in categories_")),
        (lambda text: text.replace(b" 0\n", b"\n"), ("line 1", ".jpg' is not a file and a number")),
        (lambda text: b"\n\n" + text.replace(b" 0\n", b" 9\n"), ("line 3", "category 9")),
        (lambda text: b"../secret.jpg 0\n", ("line 1", "../secret.jpg is outside the folder")),
        (lambda text: text + b"Places365_val_1.jpg 0\n", ("1 images are broken", "Places365_val_1.jpg")),
        (lambda text: b"\n/c/caf\xe9 5\n" + text, ("places365_val.txt, line 2", "not UTF-8", "fetch")),
    ],
)
def test_a_list_that_does_not_fit_is_told(source, tmp_path, change, key_words):
    path = source / "places365_val.txt"
    path.write_bytes(change(path.read_bytes()))
    with says(UserError, *key_words):
        imported(source, tmp_path / "data")
    assert not (tmp_path / "data/images/p.parquet").exists()


def test_what_is_missing_is_told(source, tmp_path):
    (source / "val_256").rename(source / "elsewhere")
    with says(UserError, "places365_val.txt exists", "none of val_256, val_large", "unpack"):
        imported(source, tmp_path / "data")
    for name in ("places365_val.txt", "places365_train_standard.txt"):
        (source / name).unlink()
    with says(UserError, "has no list of images", "places365_val.txt"):
        imported(source, tmp_path / "data")
    (source / "categories_places365.txt").unlink()
    with says(UserError, "has no categories_places365.txt"):
        imported(source, tmp_path / "data", layout="places365")
