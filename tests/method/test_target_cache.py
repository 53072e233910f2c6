import pytest
import torch

from i2i_unlearn.method.target_cache import CHUNK, RowCache, in_chunks

BYTES = 8  # two float32 an image


class Doubler:
    """(2 x, 3 x) of each image's one pixel; counts the images it was given."""

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        return 2 * images.flatten(1).float(), 3 * images.flatten(1).float()


@pytest.fixture
def images():
    return torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)


def test_rows_come_as_they_were_computed(images):
    cache = RowCache(10**6)
    double, triple = cache.rows("a", images, torch.tensor([7, 0, 7]), Doubler())
    assert double.flatten().tolist() == [14.0, 0.0, 14.0]
    assert triple.flatten().tolist() == [21.0, 0.0, 21.0]


def test_nothing_is_computed_twice(images):
    cache, compute = RowCache(10**6), Doubler()
    for _ in range(3):
        cache.rows("a", images, torch.tensor([1, 2]), compute)
    assert compute.seen == 1 + 10  # one for the size


@pytest.mark.parametrize("budget", [0, 1, 3, 9, 10, 11])
def test_the_first_rows_are_kept_that_fit_into_the_budget(images, budget):
    cache = RowCache(budget * BYTES + BYTES - 1)
    for row in range(10):
        found = cache.rows("a", images, torch.tensor([row]), Doubler())
        assert (found is not None) == (row < budget)
    assert cache.held_bytes == min(budget, 10) * BYTES
    assert cache.rows("a", images, torch.tensor([0, 9]), Doubler()) is None or budget >= 10


def test_all_sets_share_one_budget(images):
    cache = RowCache(14 * BYTES)
    cache.rows("a", images, torch.tensor([0]), Doubler())
    assert cache.rows("b", images, torch.tensor([3]), Doubler()) is not None
    assert cache.rows("b", images, torch.tensor([4]), Doubler()) is None
    assert cache.held_bytes == 14 * BYTES
    assert cache.rows("a", images, torch.tensor([9]), Doubler()) is not None  # though the budget is used up


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_in_chunks_gives_what_one_pass_gives(count):
    images = torch.arange(count).view(count, 1, 1, 1)
    assert in_chunks(images, Doubler())[0].equal(Doubler()(images)[0])
