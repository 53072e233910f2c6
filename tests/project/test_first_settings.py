import pytest

from i2i_unlearn.project.first_settings import hole_fraction


@pytest.mark.parametrize(
    ("side", "patch", "hole"),
    # Half of 8 patches is 4; of 14 it is 7, which cannot be centred, and 8 is what published protocols take; of 7
    # patches, 3 are nearer to half than 5.
    [(32, 4, 4), (224, 16, 8), (28, 4, 3), (256, 16, 8)],
)
def test_a_hole_has_whole_patches_about_half_of_the_side(side, patch, hole):
    grid = side // patch
    assert hole_fraction((side, side), patch) == pytest.approx(1 - (hole / grid) ** 2, abs=1e-6)


def test_where_no_hole_of_whole_patches_can_be_centred_it_is_a_quarter():
    assert hole_fraction((16, 16), 16) == hole_fraction((16, 32), 4) == 0.75
