import pytest
import torch

from i2i_unlearn.models.operators import hide, make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.training.sampling import Pool, Sampler, single_pool


def numbered(count, start=0):
    """Images (count, 1, 2, 2) whose pixels tell which one it is."""
    return torch.arange(start, start + count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()


def sampler(pools, *, operator="half_left", seed=0):
    return Sampler(pools, make_operator(operator, 0.5, 1), seed)


def rows(of, name, steps):
    return torch.cat([of.batches(step)[name].rows_B for step in steps]).tolist()


@pytest.mark.parametrize(("size", "batch"), [(10, 5), (10, 3), (7, 4), (4, 10), (1, 3), (5, 5)])
def test_every_image_comes_once_in_each_epoch(size, batch):
    of = sampler({"forget": single_pool(numbered(size), batch)})
    seen = rows(of, "forget", range(6 * size))[: 3 * size]
    for epoch in range(3):
        assert sorted(seen[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_epochs_have_orders_of_their_own():
    of = sampler({"forget": single_pool(numbered(20), 20)})
    assert rows(of, "forget", [0]) != rows(of, "forget", [1])


def test_a_batch_is_a_function_of_seed_and_step():
    pools = {"forget": single_pool(numbered(9), 4), "retain": single_pool(numbered(30), 4)}
    forwards = [sampler(pools, operator="random_patches").batches(step) for step in range(8)]
    one = sampler(pools, operator="random_patches")
    for step in (7, 2, 3, 2, 0):  # in any order, as a run that goes on from a checkpoint asks
        for name, batch in one.batches(step).items():
            assert batch.rows_B.equal(forwards[step][name].rows_B)
            assert batch.visible_BHW.equal(forwards[step][name].visible_BHW)
            assert batch.step == step
    other = sampler(pools, operator="random_patches", seed=1)
    assert rows(other, "retain", range(4)) != rows(one, "retain", range(4))


def test_sets_do_not_see_each_other():
    pools = {"forget": single_pool(numbered(9), 4), "retain": single_pool(numbered(9), 4)}
    both, alone = sampler(pools), sampler({"retain": pools["retain"]})
    assert rows(both, "retain", range(5)) == rows(alone, "retain", range(5))
    assert rows(both, "retain", range(5)) != rows(both, "forget", range(5))


def test_real_and_proxy_images_come_in_the_ratio_asked_for():
    # 6 real images in rows 0..5, 3 proxy images in rows 6..8; a step takes 2 and 1.
    of = sampler({"retain": Pool(numbered(9), ((6, 2), (3, 1)))})
    for step in range(9):
        batch = of.batches(step)["retain"]
        assert [row >= 6 for row in batch.rows_B.tolist()] == [False, False, True]
    seen = rows(of, "retain", range(3))
    assert sorted(seen) == list(range(9))  # three steps are an epoch of both


def test_a_part_of_which_nothing_is_taken_never_comes():
    of = sampler({"retain": Pool(numbered(9), ((6, 0), (3, 4)))})
    assert min(rows(of, "retain", range(10))) == 6


def test_pixels_belong_to_the_rows_and_masks_are_drawn_once_per_image():
    of = sampler({"forget": single_pool(numbered(9), 4)})
    batch = of.batches(3)["forget"]
    assert batch.images_BCHW.equal(to_float(numbered(9)[batch.rows_B]))
    assert batch.visible_BHW.stride(0) == 0  # a fixed mask stays one mask
    assert hide(batch.images_BCHW, batch.visible_BHW)[:, :, :, 1].eq(0).all()
