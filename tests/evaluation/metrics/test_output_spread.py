import numpy as np
import pytest

from i2i_unlearn.evaluation.metrics.output_spread import of_pixels


def spread(pixels, hidden=None, counts=None):
    pixels = np.asarray(pixels, dtype=np.float32)
    hidden = np.ones(pixels.shape, dtype=bool) if hidden is None else np.asarray(hidden)
    counts = np.ones((1, len(pixels))) if counts is None else np.asarray(counts, dtype=float)
    return of_pixels(pixels, hidden).of(counts)


def test_value_by_hand():
    # pixel 0: 0, 1 -> deviation 0.5; pixel 1: 0.2, 0.2 -> 0; mean 0.25
    assert spread([[0, 0.2], [1, 0.2]])[0] == pytest.approx(0.25, abs=1e-6)


def test_a_model_that_answers_every_image_alike_has_no_spread():
    assert spread(np.full((50, 7), 0.37))[0] == pytest.approx(0, abs=1e-6)


def test_equals_numpy_for_the_images_and_for_a_resampling():
    rng = np.random.default_rng(0)
    pixels = rng.random((30, 11))
    drawn = rng.integers(30, size=30)
    counts = np.stack([np.ones(30), np.bincount(drawn, minlength=30)])
    expected = [pixels.std(0).mean(), pixels[drawn].std(0).mean()]
    assert spread(pixels, counts=counts).tolist() == pytest.approx(expected, abs=1e-5)


def test_only_hidden_pixels_count():
    # pixel 0 is hidden in images 0 and 1 only (0 and 1 -> 0.5), pixel 1 in one image only: it does not count
    hidden = [[True, True], [True, False], [False, False]]
    assert spread([[0, 9], [1, 5], [77, 3]], hidden)[0] == pytest.approx(0.5, abs=1e-6)
