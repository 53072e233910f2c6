import pytest
import torch

from i2i_unlearn.models.base import Embedding


def test_the_distance_by_hand():
    # Image 0: differences 1, 3 -> (1 + 9) / 2 = 5. Image 1: 0, 2 -> 2.
    one = Embedding((torch.tensor([[[1.0, 2.0]], [[0.0, 1.0]]]),))
    other = Embedding((torch.tensor([[[2.0, 5.0]], [[0.0, 3.0]]]),))
    assert one.squared_distance(other).tolist() == [5.0, 2.0]


def test_every_map_counts_the_same_whatever_its_size():
    # A map of 1 value with distance 4 and a map of 100 values with distance 0: (4 + 0) / 2.
    one = Embedding((torch.full((1, 1), 2.0), torch.zeros(1, 4, 5, 5)))
    other = Embedding((torch.zeros(1, 1), torch.zeros(1, 4, 5, 5)))
    assert one.squared_distance(other).tolist() == [2.0]


def test_padding_does_not_count():
    # Two real tokens with distances 1 and 4, then padding that is far away.
    one = Embedding((torch.tensor([[[1.0], [2.0], [1000.0]]]),), torch.tensor([[True, True, False]]))
    other = Embedding((torch.zeros(1, 3, 1),), torch.tensor([[True, True, False]]))
    assert one.squared_distance(other).tolist() == [2.5]


def test_one_target_serves_all_images():
    one = Embedding((torch.tensor([[[1.0]], [[2.0]], [[3.0]]]),))
    assert one.squared_distance(Embedding((torch.ones(1, 1, 1),))).tolist() == [0.0, 1.0, 4.0]


def test_maps_that_do_not_correspond_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        Embedding((torch.ones(1, 1), torch.ones(1, 1))).squared_distance(Embedding((torch.ones(1, 1),)))


def test_rows_keep_their_own_padding_only():
    maps, valid = torch.arange(6.0).view(2, 3, 1), torch.tensor([[True, True, False], [True, True, True]])
    both = Embedding((maps,), valid)
    assert both[:1].maps[0].flatten().tolist() == [0.0, 1.0]
    assert both[:1].valid_BN.tolist() == [[True, True]]
    assert both[1:].maps[0].flatten().tolist() == [3.0, 4.0, 5.0]
    assert both[torch.tensor([1, 0])].maps[0].shape == (2, 3, 1)
