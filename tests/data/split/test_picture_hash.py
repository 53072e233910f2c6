import imagehash
import numpy as np
from PIL import Image, ImageOps

from i2i_unlearn.data.split.picture_hash import SIDE, WHOLE, boxes, hashes, standardised, thumbnail, versions


def pictures(number, side=48):
    """Soft random patterns."""
    small = np.random.default_rng(0).integers(0, 256, (number, 6, 6), dtype=np.uint8)
    return [Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC) for one in small]


def test_the_hash_is_that_of_imagehash():
    made = pictures(40)
    ours = hashes(np.stack([thumbnail(one) for one in made]))
    theirs = [int(str(imagehash.phash(one)), 16) for one in made]
    # The same bits; ours are packed in the machine's order of bytes.
    assert [int.from_bytes(one.tobytes(), "big") for one in ours] == theirs


def test_the_whole_and_its_mirror_image_come_first():
    assert boxes((), ()) == [WHOLE]
    seen = np.stack([thumbnail(one) for one in pictures(3)])
    made = versions(seen, boxes((0.9,), (0, 1)))
    assert made.shape == (3, 2 * 5, SIDE, SIDE)
    assert np.array_equal(made[:, 0], seen)
    assert np.array_equal(made[:, 1], seen[:, :, ::-1])


def test_a_box_is_what_a_crop_shows():
    # 0.75 of 64 pixels, at the top on the right: columns 16 to 63, rows 0 to 47
    picture = pictures(1, side=64)[0]
    crop = thumbnail(picture.crop((16, 0, 64, 48)))
    box, mirrored = versions(thumbnail(picture)[None], [(0.75, 0.0, 1.0)])[0]
    assert standardised(box) @ standardised(crop) > 0.998
    assert standardised(mirrored) @ standardised(np.asarray(ImageOps.mirror(Image.fromarray(crop)))) > 0.998


def test_correlation_by_hand():
    ramp = np.tile(np.arange(SIDE, dtype=np.float32), (SIDE, 1))
    assert np.isclose(standardised(ramp) @ standardised(3 * ramp + 7), 1)
    assert np.isclose(standardised(ramp) @ standardised(-ramp), -1)
    assert abs(standardised(ramp) @ standardised(ramp.T)) < 1e-6
    assert not standardised(np.full((SIDE, SIDE), 9.0)).any()  # one grey level correlates with nothing
