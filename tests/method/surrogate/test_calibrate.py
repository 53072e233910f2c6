import math

import pytest

from i2i_unlearn.method.surrogate.calibrate import gap_db, ridge_for


def test_the_gap_by_hand():
    assert gap_db(trained=0.1, unseen=1.0) == pytest.approx(10.0)
    assert gap_db(trained=2.0, unseen=1.0) == pytest.approx(-3.0103)


@pytest.mark.parametrize("ridge", [2e-6, 0.013, 1.0, 7e3])
def test_the_ridge_of_a_known_gap_is_found(ridge):
    # A gap that falls by 2 dB with each power of ten.
    def gap_at(value):
        return gap_db(1.0, 10 ** (-0.2 * math.log10(value)))

    assert ridge_for(gap_at(ridge), gap_at) == pytest.approx(ridge, rel=0.01)


def test_a_gap_out_of_reach_gives_the_nearest_end_of_the_range():
    def gap_at(value):
        return 3.0 / (1 + value)

    assert ridge_for(50.0, gap_at) < 2e-6  # no ridge memorises so much
    assert ridge_for(-1.0, gap_at) > 5e3  # or so little
