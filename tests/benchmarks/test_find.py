"""The benchmark of `find`: what it counts, by hand."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks import find
from i2i_unlearn.data.split.picture_hash import hashes, thumbnail


def picture(number):
    coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("name", find.CHANGES)
def test_a_change_makes_another_picture_of_the_size_that_it_says(name):
    changed = find.CHANGES[name](picture(0), np.random.default_rng(0))
    assert changed.tobytes() != picture(0).tobytes()
    share = 0.5 if "half" in name else 0.8 if "80" in name else 0.9 if "90" in name else 1
    assert changed.size == (round(32 * share),) * 2


def test_the_rank_of_an_image_is_the_number_of_nearer_hashes():
    of_all = hashes(np.stack([thumbnail(picture(number)) for number in range(20)]))
    assert find.hash_rank(picture(4).rotate(90), of_all, 4) == 0
    assert find.hash_rank(picture(4), of_all, 5) >= 1  # image 4 is nearer


def test_repeated_images_have_ids_of_their_own(tmp_path):
    written = io.BytesIO()
    picture(0).save(written, "JPEG")
    columns = {"sample_id": ["a", "b"], "label": ["x", "y"], "image": [written.getvalue(), b"other"]}
    pq.write_table(pa.table(columns), tmp_path / "two.parquet")
    records = list(find.repeated([tmp_path / "two.parquet"], 5))
    assert len({one.sample_id for one in records}) == 5
    assert [one.label for one in records] == ["x", "y", "x", "y", "x"]
