import pytest
import torch

from i2i_unlearn.method.nearest_image import nearest, pooled
from i2i_unlearn.models.base import Embedding


def test_tokens_and_pixels_are_averaged_over_their_places_by_hand():
    # One image: two tokens of two channels, one map of 1 x 2 pixels and one channel, one plain vector.
    tokens = torch.tensor([[[1.0, 10.0], [3.0, 20.0]]])
    pixels = torch.tensor([[[[4.0, 6.0]]]])
    vector = torch.tensor([[7.0]])
    assert pooled(Embedding((tokens, pixels, vector))).tolist() == [[2.0, 15.0, 5.0, 7.0]]


def test_padding_does_not_count():
    tokens = torch.tensor([[[1.0], [3.0], [99.0]]])
    assert pooled(Embedding((tokens,), torch.tensor([[True, True, False]]))).tolist() == [[2.0]]


def test_the_nearest_by_hand():
    # Candidates at 0, 4 and 10 on a line; the spread divides out.
    candidates = torch.tensor([[0.0], [4.0], [10.0]])
    assert nearest(torch.tensor([[1.0], [2.5], [8.0], [-9.0]]), candidates).tolist() == [0, 1, 2, 0]


def test_among_equals_it_is_the_first():
    assert nearest(torch.tensor([[1.0]]), torch.tensor([[3.0], [1.0], [1.0]])).tolist() == [1]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_no_feature_dominates_by_its_size(scale):
    generator = torch.Generator().manual_seed(0)
    candidates, queries = (torch.randn(count, 4, generator=generator) for count in (20, 10))
    size = torch.tensor([1.0, scale, 1.0, 1.0])
    assert nearest(queries * size, candidates * size).equal(nearest(queries, candidates))


def test_a_feature_that_all_candidates_share_is_no_fault():
    assert nearest(torch.tensor([[5.0, 1.9]]), torch.tensor([[0.0, 1.0], [0.0, 2.0]])).tolist() == [1]
