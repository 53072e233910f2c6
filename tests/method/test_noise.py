import numpy as np
import pytest
import torch

from i2i_unlearn.method.noise import fit_noise
from tests.models.samples import generator

DRAWS = 20000


@pytest.fixture(scope="module")
def forget():
    """40 images (2, 8, 12) whose pixels depend on their neighbours and differ in mean and variance."""
    rng = np.random.default_rng(0)
    white = rng.normal(size=(40, 2, 9, 13))
    smooth = white[:, :, 1:, 1:] + white[:, :, :-1, 1:] + white[:, :, 1:, :-1]
    scale = np.linspace(0.1, 0.4, 96).reshape(8, 12)
    return torch.from_numpy(smooth * scale + np.linspace(-0.3, 0.3, 96).reshape(8, 12)).float()


def draws(forget, *, covariance, mean="zero", patch_size=4, num=DRAWS):
    return fit_noise(forget, covariance=covariance, mean=mean, patch_size=patch_size).draw(num, generator())


def patches(images, size):
    """(B, patch, values of the patch), channel first: a plain loop."""
    batch, _, height, width = images.shape
    return np.stack(
        [
            images[:, :, top : top + size, left : left + size].reshape(batch, -1)
            for top in range(0, height, size)
            for left in range(0, width, size)
        ],
        axis=1,
    )


def test_identity_is_standard_normal(forget):
    noise = draws(forget, covariance="identity")
    assert noise.shape == (DRAWS, *forget.shape[1:])
    # Deviation of a mean of 20,000 values: 0.007; of a variance: 0.01. 192 pixels: allow five deviations.
    assert float(noise.mean(0).abs().max()) < 0.036
    assert float((noise.var(0) - 1).abs().max()) < 0.05
    assert float(noise.max()) > 3  # not clamped to the pixel range


def test_diagonal_has_each_pixels_own_variance(forget):
    noise = draws(forget, covariance="diagonal")
    expected = torch.from_numpy(np.var(forget.numpy(), axis=0))
    assert float((noise.var(0) / expected - 1).abs().max()) < 0.05
    assert float((noise.mean(0) / expected.sqrt()).abs().max()) < 0.036
    flat = noise.flatten(1)
    correlation = torch.corrcoef(flat.T) - torch.eye(flat.shape[1])
    assert float(correlation.abs().max()) < 0.04


@pytest.mark.parametrize("size", [2, 4])
def test_full_has_the_covariance_of_each_patch_as_numpy_computes_it(forget, size):
    noise = patches(draws(forget, covariance="full", patch_size=size).numpy(), size)
    images = patches(forget.numpy(), size)
    for place in range(images.shape[1]):
        expected = np.cov(images[:, place], rowvar=False, bias=True)
        found = np.cov(noise[:, place], rowvar=False, bias=True)
        # Deviation of a covariance estimate: sqrt((s_ii s_jj + s_ij^2) / n), at most sqrt(2 / n) * largest variance.
        assert np.abs(found - expected).max() < 5 * np.sqrt(2 / DRAWS) * expected.diagonal().max()


def test_full_draws_different_patches_independently(forget):
    noise = patches(draws(forget, covariance="full").numpy(), 4)
    joint = np.corrcoef(noise[:, 0], noise[:, 1], rowvar=False)[: noise.shape[2], noise.shape[2] :]
    assert np.abs(joint).max() < 0.04


@pytest.mark.parametrize("covariance", ["identity", "diagonal", "full"])
def test_the_mean_is_a_choice_of_its_own(forget, covariance):
    zero, around = (
        draws(forget, covariance=covariance, mean=mean, num=100) for mean in ("zero", "forget")
    )  # fmt: skip
    expected = torch.from_numpy(forget.numpy().mean(0))
    assert torch.allclose(around - zero, expected.expand_as(zero), atol=1e-5)


def test_full_with_one_pixel_a_patch_is_diagonal(forget):
    # Patches of one grey pixel have no neighbours: both choices are the same Gaussian.
    grey = forget[:, :1]
    full = fit_noise(grey, covariance="full", mean="zero", patch_size=1)
    diagonal = fit_noise(grey, covariance="diagonal", mean="zero", patch_size=0)
    assert torch.allclose(full.scale.flatten(), diagonal.scale.flatten(), atol=1e-3)


def test_flat_pixels_get_no_noise_to_speak_of():
    flat = torch.full((5, 1, 4, 4), 0.25)
    assert float(draws(flat, covariance="full", num=50).abs().max()) < 0.01
    assert float(draws(flat, covariance="diagonal", num=50).abs().max()) == 0.0
    assert draws(flat, covariance="diagonal", mean="forget", num=2).equal(flat[:2])


def test_one_forget_image_is_enough():
    image = torch.rand(1, 1, 4, 4, generator=generator()) * 2 - 1
    for covariance in ("diagonal", "full"):
        noise = draws(image, covariance=covariance, mean="forget", num=10)
        assert torch.allclose(noise, image.expand_as(noise), atol=0.01)


@pytest.mark.parametrize("covariance", ["identity", "diagonal", "full"])
def test_noise_is_a_function_of_the_generator_alone(forget, covariance):
    noise = fit_noise(forget, covariance=covariance, mean="zero", patch_size=4)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = noise.draw(5, generator(7))
    assert before.equal(torch.random.get_rng_state())
    torch.manual_seed(2)
    assert one.equal(noise.draw(5, generator(7)))
    assert not one.equal(noise.draw(5, generator(8)))
