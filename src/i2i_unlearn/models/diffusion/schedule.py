"""The noise schedule of a diffusion model: levels, times of training, and what a U-Net predicts.

Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020, arXiv:2006.11239, eq. 4, 14;
Salimans, Ho, "Progressive Distillation", ICLR 2022, arXiv:2202.00512, sec. 4 (v).

    x_t = sqrt(level) x + sqrt(1 - level) noise

    here     in papers       meaning
    time     t               0 .. num_times - 1; sampling starts at the last one
    level    alpha-bar_t     share of the image's power in x_t, 0 to 1 (Palette writes gamma)
    epsilon  epsilon         the noise
    v        v               sqrt(level) noise - sqrt(1 - level) x

Shape letters: B batch, N times, C channels, H, W pixels.
"""

from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.models.randomness import drawn
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

ensure_torchvision()  # before diffusers, which imports it by way of transformers
from diffusers import DDIMScheduler, DDPMScheduler  # noqa: E402

PREDICTIONS = ("epsilon", "v_prediction")
"""diffusers' `prediction_type`."""


def draw_times(
    num: int, num_times: int, generator: torch.Generator, *, emphasis: float = 0.0, continuous: bool = False
) -> Tensor:
    """Times (num,), float: whole numbers 0 .. num_times - 1, or `continuous` in [0, num_times - 1).

    With s = time / num_times, the density is p(s) = (1 + emphasis) s^emphasis: uniform for 0; for 1 it rises linearly
    to the start of sampling; the mean of s is (1 + emphasis) / (2 + emphasis).
    """
    uniform_B = drawn(num, generator, lambda rows: torch.rand(rows, generator=generator, dtype=torch.float64))
    share_B = uniform_B ** (1 / (1 + emphasis))
    if continuous:
        return (share_B * (num_times - 1)).float()
    return (share_B * num_times).floor().clamp(max=num_times - 1).float()


def level_at(levels_N: Tensor, time_B: Tensor) -> Tensor:
    """Level of each time; between whole times in a straight line (Palette conditions on such levels)."""
    below_B = time_B.floor().long()
    above_B = (below_B + 1).clamp(max=len(levels_N) - 1)
    return torch.lerp(levels_N[below_B], levels_N[above_B], time_B - below_B)


def add_noise(clean_BCHW: Tensor, noise_BCHW: Tensor, level_B: Tensor) -> Tensor:
    """x_t."""
    signal, spread = _roots(level_B)
    return signal * clean_BCHW + spread * noise_BCHW


def what_to_predict(clean_BCHW: Tensor, noise_BCHW: Tensor, level_B: Tensor, prediction: str) -> Tensor:
    """The U-Net's target for x_t of these: noise or v."""
    if prediction == "epsilon":
        return noise_BCHW
    signal, spread = _roots(level_B)
    return signal * noise_BCHW - spread * clean_BCHW


def clean_from(predicted_BCHW: Tensor, noisy_BCHW: Tensor, level_B: Tensor, prediction: str) -> Tensor:
    """The clean image that a prediction means: `clean_from(what_to_predict(x, n), x_t) == x`.

    From a predicted noise, errors grow by 1 / sqrt(level): hundredfold where sampling starts.
    """
    signal, spread = _roots(level_B)
    if prediction == "epsilon":
        return (noisy_BCHW - spread * predicted_BCHW) / signal
    return signal * noisy_BCHW - spread * predicted_BCHW


def _roots(level_B: Tensor) -> tuple[Tensor, Tensor]:
    level_B111 = level_B.view(-1, 1, 1, 1)
    return level_B111.sqrt(), (1 - level_B111).sqrt()


def make_sampler(schedule: Any, sampler: str, num_steps: int, **changes: Any) -> Any:
    """The library's scheduler that steps through `schedule` (another of its schedulers) in `num_steps` steps.

    It starts at the last time ("trailing"): there the model has seen (next to) pure noise, as sampling begins with.
    """
    kind = DDIMScheduler if sampler == "ddim" else DDPMScheduler
    # The library takes what was given by position for a default, and drops defaults when it makes another kind.
    config = {key: value for key, value in schedule.config.items() if key != "_use_default_values"}
    scheduler = kind.from_config(config, timestep_spacing="trailing", **changes)
    scheduler.set_timesteps(num_steps)
    return scheduler


def streams_from(generator: torch.Generator, num: int) -> list[torch.Generator]:
    """One random stream per image; the next images get the next streams, however batches are cut."""
    seeds = torch.randint(2**63 - 1, (num,), generator=generator)
    return [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]


def noise_of(shape: tuple[int, ...], streams: list[torch.Generator]) -> Tensor:
    """Standard Gaussian noise (B, *shape) on the CPU, each image's from its own stream."""
    return torch.stack([torch.randn(shape, generator=stream) for stream in streams])
