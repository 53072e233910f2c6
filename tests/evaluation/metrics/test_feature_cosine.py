import numpy as np
import pytest

from i2i_unlearn.evaluation.metrics.feature_cosine import cosine


def test_values_by_hand():
    one = np.array([[1, 0], [1, 1], [2, 0], [0, 0]], dtype=np.float32)
    other = np.array([[0, 3], [1, 0], [5, 0], [1, 1]], dtype=np.float32)
    assert cosine(one, other).tolist() == pytest.approx([0, 1 / np.sqrt(2), 1, 0])


def test_length_has_no_influence():
    rng = np.random.default_rng(0)
    one, other = rng.random((6, 9)).astype(np.float32), rng.random((6, 9)).astype(np.float32)
    assert cosine(one, other) == pytest.approx(cosine(7 * one, 0.1 * other), abs=1e-6)
