import numpy as np
import pytest
import torch

from i2i_unlearn.evaluation.metrics.hole_psnr import hole_error, of_errors, psnr_db
from i2i_unlearn.support.torchvision_compat import ensure_torchvision


def test_value_by_hand():
    # 2x2 image, two hidden pixels, wrong by 0.2 and 0.4 in [-1, 1], so by 0.1 and 0.2 in [0, 1]:
    # mean squared error (0.01 + 0.04) / 2 = 0.025
    image = torch.zeros(1, 1, 2, 2)
    completed = torch.tensor([[[[0.2, 0.9], [0.0, 0.4]]]])
    visible = torch.tensor([[[False, True], [True, False]]])
    assert hole_error(completed, image, visible).item() == pytest.approx(0.025)
    # 10 log10(1 / 0.025) = 16.0206
    assert of_errors(np.array([0.025], dtype=np.float32)).of(np.ones((1, 1)))[0] == pytest.approx(16.0206, abs=1e-4)


def test_it_is_the_psnr_of_the_mean_error_not_the_mean_of_psnrs():
    # errors 0.1 and 0.001: mean 0.0505 -> 12.967 dB (the mean of 10 and 30 dB would be 20)
    assert of_errors(np.array([0.1, 0.001], dtype=np.float32)).of(np.ones((1, 2)))[0] == pytest.approx(12.967, abs=1e-3)


def test_visible_pixels_have_no_influence():
    visible = torch.zeros(3, 4, 4, dtype=torch.bool)
    visible[:, :, :2] = True
    image, completed = torch.rand(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
    spoiled = completed.clone()
    spoiled[..., :2] = 17.0
    assert torch.equal(hole_error(completed, image, visible), hole_error(spoiled, image, visible))


def test_images_that_hide_more_count_no_more():
    # One hidden pixel wrong by 1 (of [0, 1]) in each image, the other image hides three more that are right: 1 and 1/4.
    completed = torch.zeros(2, 1, 2, 2)
    completed[:, 0, 0, 0] = 2.0
    visible = torch.tensor([[[False, True], [True, True]], [[False, False], [False, False]]])
    assert hole_error(completed, torch.zeros(2, 1, 2, 2), visible).tolist() == [1.0, 0.25]


def test_equal_images_give_100_db_and_no_infinity():
    assert psnr_db(np.array([0.0])).tolist() == [100.0]


def test_agrees_with_torchmetrics_where_everything_is_hidden():
    ensure_torchvision()
    from torchmetrics.functional.image import peak_signal_noise_ratio

    generator = torch.Generator().manual_seed(0)
    image, completed = (torch.rand(5, 3, 8, 8, generator=generator) * 2 - 1 for _ in range(2))
    error = hole_error(completed, image, torch.zeros(5, 8, 8, dtype=torch.bool))
    theirs = peak_signal_noise_ratio((completed + 1) / 2, (image + 1) / 2, data_range=1.0)
    assert of_errors(error.numpy()).of(np.ones((1, 5)))[0] == pytest.approx(float(theirs), abs=1e-4)
