import io
from dataclasses import replace

import numpy as np
from PIL import Image

from i2i_unlearn.report import before_after_picture
from i2i_unlearn.report.pictures import encode_png, grid_views, shown_grids


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_picture_comes_back_as_it_went_in():
    for channels in (1, 3):
        image = np.random.default_rng(0).integers(0, 256, (9, 7, channels), dtype=np.uint8)
        assert (opened(encode_png(image)).reshape(image.shape) == image).all()


def test_only_pictures_that_are_too_large_are_shrunk():
    image = np.zeros((40, 80, 3), np.uint8)
    assert opened(encode_png(image, 20)).shape == (10, 20, 3)
    assert opened(encode_png(image, 80)).shape == (40, 80, 3)


def test_sets_come_in_reading_order_worst_before_random_and_forget_sets_only_where_they_may_be_shown(made):
    order = [(grid.set_name, grid.chosen) for grid in shown_grids(made.made_facts())]
    assert order[:3] == [("forget", "worst"), ("forget", "random"), ("retain", "worst")]
    shown = shown_grids(made.made_facts(show_forget_images=False))
    assert {grid.set_name for grid in shown} == {"retain", "retain_holdout"}


def test_many_large_pictures_keep_the_budget_by_showing_fewer(made, monkeypatch):
    monkeypatch.setattr("i2i_unlearn.report.pictures.PICTURE_BUDGET_BYTES", 60_000)
    views, cut = grid_views([made.made_grid("retain", "random", num=8, side=80, channels=1)])
    # 64 x 64 bytes of noise x 5 columns = 20 kB a row: two rows fit
    assert len(views[0].rows) == 2
    assert cut == (
        "To keep this page small, pictures are shrunk from 80 to 64 pixels and only the first 2 of 8 images of a set "
        "are shown."
    )


def test_small_pictures_are_cut_in_no_way(made):
    views, cut = grid_views([made.made_grid("retain", "random")])
    assert cut == ""
    assert views[0].pixelated
    assert views[0].columns == ["Image", "Given", "Before", "After", "Retrained"]


def sheet_of_flat(made, **changes):
    """The sheet of grids with one grey each, which can be looked for: forget 200, retain 90."""
    grids = []
    for set_name, shade in (("retain", 90), ("forget", 200)):
        grid = made.made_grid(set_name, "random", num=5)
        rows = {name: np.full_like(images, shade) for name, images in grid.rows.items()}
        grids.append(replace(grid, rows=rows))
    return opened(before_after_picture(made.made_facts(pictures=grids, **changes)))[..., 0]


def test_the_sheet_shows_forget_next_to_retain(made):
    sheet = sheet_of_flat(made)
    # 20 pictures each of about 0.92 x 130 = 120 pixels square; forget on the left
    assert 0.95 < (sheet == 200).sum() / (20 * 120**2) < 1.05
    assert 0.95 < (sheet == 90).sum() / (20 * 120**2) < 1.05
    forget, retain = (np.nonzero((sheet == shade).sum(0) > 100)[0] for shade in (200, 90))  # more than letters have
    assert forget.max() < retain.min()


def test_the_sheet_without_forget_images_shows_the_rest(made):
    sheet = sheet_of_flat(made, show_forget_images=False)
    assert (sheet == 90).any()
    assert (sheet == 200).sum() < 200  # anti-aliased letters only


def test_the_sheet_is_made_even_where_nothing_may_be_shown(made):
    assert opened(before_after_picture(made.made_facts(pictures=[], show_forget_images=False))).size > 0


def test_equal_facts_give_equal_sheets(made):
    assert before_after_picture(made.made_facts()) == before_after_picture(made.made_facts())
