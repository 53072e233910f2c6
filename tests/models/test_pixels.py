import pytest
import torch

from i2i_unlearn.models.pixels import to_float, to_uint8


def test_black_is_minus_one_and_white_is_one():
    found = to_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([-1.0, -0.6, 1.0])


def test_every_byte_survives_the_way_to_floats_and_back():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(every)), every)


def test_what_lies_outside_the_range_is_clamped():
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


@pytest.mark.parametrize("convert", [to_float, to_uint8])
def test_what_is_given_is_not_changed(convert):
    given = torch.tensor([0.0, 255.0])
    convert(given)
    assert given.tolist() == [0.0, 255.0]
