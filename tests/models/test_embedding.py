import pytest
import torch

from i2i_unlearn.models.base import Embedding


def tokens(*values):
    """One map of tokens of one channel."""
    return (torch.tensor(values).unsqueeze(-1),)


VALID = torch.tensor([[True, True, False]])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # Image 0: differences 1, 3 -> (1 + 9) / 2 = 5. Image 1: 0, 2 -> 2.
        (Embedding(tokens([1.0, 2.0], [0.0, 1.0])), Embedding(tokens([2.0, 5.0], [0.0, 3.0])), [5.0, 2.0]),
        # Every map counts the same: one of 1 value at distance 4, one of 100 values at distance 0: (4 + 0) / 2.
        (
            Embedding((torch.full((1, 1), 2.0), torch.zeros(1, 4, 5, 5))),
            Embedding((torch.zeros(1, 1), torch.zeros(1, 4, 5, 5))),
            [2.0],
        ),
        # Two real tokens with distances 1 and 4, then padding that is far away and does not count.
        (Embedding(tokens([1.0, 2.0, 1000.0]), VALID), Embedding(tokens([0.0, 0.0, 0.0]), VALID), [2.5]),
        # One target serves all images.
        (Embedding(tokens([1.0], [2.0], [3.0])), Embedding(tokens([1.0])), [0.0, 1.0, 4.0]),
    ],
    ids=["tokens", "maps", "padding", "one target"],
)
def test_the_distance_by_hand(one, other, expected):
    assert one.squared_distance(other).tolist() == expected


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


@pytest.mark.parametrize("padded", [False, True])
def test_parts_of_a_batch_are_its_slices_with_the_same_gradients(padded):
    features = [torch.randn(5, 4, 3, requires_grad=True, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    valid = torch.arange(4) < torch.tensor([1, 2, 1, 4, 3]).unsqueeze(1) if padded else None
    whole = Embedding(tuple(features[:1] if padded else features), valid, (torch.arange(5),))

    def gradients(parts):
        total = sum(weight * part.maps[-1].square().sum() for weight, part in enumerate(parts, start=1))
        return torch.autograd.grad(total, whole.maps[-1])[0]

    parts, slices = whole.split([2, 3]), [whole[:2], whole[2:]]
    for part, of in zip(parts, slices, strict=True):
        assert all(one.equal(other) for one, other in zip(part.maps, of.maps, strict=True))
        assert part.context[0].equal(of.context[0])
        assert (part.valid_BN is None) == (of.valid_BN is None)
        assert part.valid_BN is None or part.valid_BN.equal(of.valid_BN)
    assert gradients(parts).equal(gradients(slices))
