"""Copies have nearly the same description, other pictures another one."""

import numpy as np
import pytest
from PIL import Image

from i2i_unlearn.data.search import description
from i2i_unlearn.data.search.description import (
    MAPS,
    PARTS,
    Descriptions,
    describe,
    is_flat,
    middle_square,
    similarities,
    templates,
    turned,
)
from i2i_unlearn.data.split.picture_hash import WHOLE, versions


def smooth(seed, height=64, width=64):
    """A random picture without fine detail."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def seen(*pictures):
    return np.stack([description.thumbnail(one) for one in pictures])


def similarity(photograph, image):
    return float(similarities(templates(photograph), describe(seen(image)))[0])


def test_a_wave_has_one_number():
    # cos(2 pi (x + .5) / 32) is frequency 2 of 32 pixels, times the square root of 2; the largest number becomes 127
    wave = np.cos(2 * np.pi * (np.arange(32) + 0.5) / 32)
    values, lengths = describe(np.broadcast_to(128 + 100 * wave, (1, 32, 32)).round().astype(np.uint8))
    assert np.abs(values[0] - [0, 0, 127, *[0] * 61]).max() <= 1  # pixels are whole numbers
    assert lengths[0, 0] == pytest.approx(127, abs=0.1)


def test_a_picture_of_one_grey_level_is_zeros_and_looks_like_nothing():
    blank = Image.new("L", (20, 20), 77)
    assert not describe(seen(blank)).values.any()
    assert similarity(smooth(0), blank) == 0
    assert is_flat(blank)
    assert not is_flat(smooth(0))


def test_the_first_part_is_the_whole_picture():
    assert PARTS[0] == WHOLE
    kept = np.eye(64, dtype=np.float32)
    kept[0, 0] = 0  # the mean is not known
    np.testing.assert_allclose(MAPS[0], kept, atol=1e-5)


@pytest.mark.parametrize("number", range(len(PARTS)))
def test_the_map_of_a_part_says_what_the_cut_out_part_is(number):
    values = description._values(seen(smooth(1)))
    cut = versions(seen(smooth(1)), [PARTS[number]])[0, :1]
    of_cut = description._values(cut)[0]
    mapped = MAPS[number] @ values[0]
    assert of_cut @ mapped / np.linalg.norm(of_cut) / np.linalg.norm(mapped) > 0.98


def test_similarities_are_the_largest_cosine_of_one_after_the_other():
    template, images = templates(smooth(2)), describe(seen(*map(smooth, range(9))))
    slow = [
        max(
            float(values @ image / max(length[part], 1))
            for values, part in zip(template.values, template.parts, strict=True)
        )
        for image, length in zip(images.values.astype(np.float32), images.lengths.astype(np.float32), strict=True)
    ]
    np.testing.assert_allclose(similarities(template, images), slow, rtol=1e-4)
    assert np.argmax(slow) == 2


def test_a_picture_can_be_laid_down_in_eight_ways():
    picture = np.arange(4, dtype=np.uint8).reshape(2, 2)
    assert len({way.tobytes() for way in turned(picture)}) == 8


@pytest.mark.parametrize("way", range(8))
def test_a_copy_is_similar_however_it_is_turned(way):
    turned_copy = Image.fromarray(np.ascontiguousarray(turned(np.asarray(smooth(3)))[way]))
    assert similarity(turned_copy, smooth(3)) > 0.99
    assert similarity(turned_copy, smooth(4)) < 0.9


@pytest.mark.parametrize("box", [(0, 0, 52, 52), (12, 6, 64, 58), (6, 6, 58, 58), (3, 0, 61, 58)])
def test_a_part_is_similar_to_the_picture_and_the_picture_to_its_part(box):
    picture = smooth(5)
    assert similarity(picture.crop(box), picture) > 0.87
    assert similarity(picture, picture.crop(box)) > 0.87


def test_the_middle_square_of_a_photograph_is_compared_too():
    wide = smooth(6, height=40, width=90)
    assert middle_square(wide).size == (40, 40)
    assert similarity(wide, middle_square(wide)) > 0.99


def test_a_description_is_as_long_as_is_said():
    images = describe(seen(smooth(7)))
    assert isinstance(images, Descriptions)
    assert images.values.nbytes + images.lengths.nbytes == 92
