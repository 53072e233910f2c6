import numpy as np
import pytest
import torch

from i2i_unlearn.evaluation.metrics.observe import Seen
from i2i_unlearn.evaluation.pictures import NUM_PICTURES, PictureCollector

NUM = 30


def seen(start, stop):
    """Image i is of brightness i; the unlearned model is 0.01 * i worse (in mean squared error) than the teacher."""
    places = torch.arange(start, stop)
    images = (places / 127.5 - 1).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    visible = torch.ones(len(places), 4, 4, dtype=torch.bool)
    visible[:, 0, 0] = False
    errors = {"teacher": torch.full((len(places),), 0.01), "unlearned": 0.01 + 0.01 * places}
    completed = {"teacher": images, "unlearned": images}
    return Seen(images_BCHW=images, visible_BHW=visible, completed=completed, hole_error=errors)


def collect(set_name, batch=7, num=NUM):
    collector = PictureCollector(set_name, num, np.random.default_rng(0))
    for start in range(0, num, batch):
        collector.see(seen(start, min(start + batch, num)))
    return collector.grids()


def shown(grid):
    """Which images are in the grid."""
    return [int(image[1, 1, 0]) for image in grid.rows["image"]]


def test_the_worst_of_kept_images_are_those_that_lost_most():
    _, worst = collect("retain")
    assert shown(worst) == list(range(29, 29 - NUM_PICTURES, -1))
    assert "Most damaged" in worst.caption


def test_the_worst_of_forget_images_are_those_that_lost_least():
    _, worst = collect("forget_holdout")
    assert shown(worst) == list(range(NUM_PICTURES))
    assert "Least forgotten" in worst.caption


def test_random_pictures_are_distinct_and_do_not_depend_on_the_batches():
    random, _ = collect("retain")
    assert len(set(shown(random))) == NUM_PICTURES
    assert shown(random) == shown(collect("retain", batch=30)[0])


def test_rows_and_scores_are_in_the_order_to_show():
    random, worst = collect("retain")
    assert list(random.rows) == ["image", "masked", "teacher", "unlearned"]
    assert random.rows["masked"][0, 0, 0, 0] == 128  # mid-grey where hidden
    assert worst.scores_db["teacher"][0] == pytest.approx(20)  # 10 log10(1 / 0.01)
    assert worst.scores_db["unlearned"][0] == pytest.approx(10 * np.log10(1 / 0.30), abs=1e-4)
    assert random.rows["image"].dtype == np.uint8


def test_a_set_smaller_than_the_grid_is_shown_whole():
    random, worst = collect("retain", num=3)
    assert (sorted(shown(random)), shown(worst)) == ([0, 1, 2], [2, 1, 0])


def test_what_must_not_be_shown_is_in_no_grid():
    hidden = {29, 27, 3}
    collector = PictureCollector("retain", NUM, np.random.default_rng(0), hidden)
    for start in range(0, NUM, 7):
        collector.see(seen(start, min(start + 7, NUM)))
    random, worst = collector.grids()
    assert shown(worst)[:3] == [28, 26, 25]
    assert not hidden & {*shown(random), *shown(worst)}


def test_a_set_of_which_nothing_may_be_shown_has_no_grid():
    collector = PictureCollector("retain", 7, np.random.default_rng(0), set(range(7)))
    collector.see(seen(0, 7))
    assert collector.grids() == []
