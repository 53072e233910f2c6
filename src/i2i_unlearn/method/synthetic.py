"""Retain images that the teacher makes itself, for when no retain data may be kept.

After the generative replay of Shin, Lee, Kim, Kim, "Continual Learning with Deep Generative Replay", NeurIPS 2017,
arXiv:1705.08690: what a model knows replaces the data it was trained on.

    start    mixtures of class prototypes, coloured noise, or crops of proxy images
    grow     x <- D(E(T(x))) where T hides: for `ROUNDS` draws of the run's own operator, once if it is fixed
    keep     those that the teacher does not take for forget images

The teacher was trained under the run's operator and knows no other, so each round hides what that operator hides, where
it hides it: moving a fixed hole about made far worse retain images (docs/tuning.md). What a fixed operator shows is
therefore the start's alone; a teacher that draws nothing at random adds no variety of its own.

What leaks: the teacher also knows the forget images and may paint them. A candidate is left out if, in the teacher's
pooled embedding of T(x), it lies nearer to a forget image than forget images typically lie to each other (the median of
their own nearest distances). One forget image alone has no such distance; then nothing is left out.
Shape letters: B batch, N images, C channels, H, W pixels, F features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from i2i_unlearn.method.nearest_image import pooled
from i2i_unlearn.models.operators import Operator
from i2i_unlearn.models.pixels import to_float, to_uint8
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.support.errors import UserError

CHUNK = 128
"""Images in one teacher pass; fixed, so that the same seed gives the same bits."""
ROUNDS = 3
"""Random patches that hide three quarters, as MAE's do, then hide 98 % of an image at least once."""
MOST_TRIED = 8
"""Candidates for each image wanted, before it is told that too few pass."""

Start = Callable[[int, torch.Generator], Tensor]
"""Number of images, generator -> (N, C, H, W) float in [-1, 1] on the CPU."""


@dataclass(frozen=True)
class Synthetic:
    """What was made."""

    images_NCHW: Tensor
    """uint8, on the teacher's device."""
    num_left_out: int
    """Candidates that looked like forget images."""


@torch.no_grad()
def make_synthetic(
    teacher: Any, operator: Operator, start: Start, forget_NCHW: Tensor, *, num: int, seed: int
) -> Synthetic:
    """Make `num` images that do not look like `forget_NCHW` (uint8, on the teacher's device) to the teacher.

    Raises:
        UserError: after `MOST_TRIED` candidates per image, too few pass.
    """
    looks_forgotten = _filter(teacher, operator, forget_NCHW, seed)
    kept: list[Tensor] = []
    num_kept = tried = 0
    while num_kept < num:
        if tried >= MOST_TRIED * max(num, CHUNK):
            raise UserError(
                f"unlearn.synthetic_from: of {tried} images that the teacher made, {tried - num_kept} look like forget "
                f"images; {num} others were wanted. Lower unlearn.synthetic_images or choose another source"
            )
        generator = generator_for(seed, "synthetic", tried)
        images_BCHW = start(CHUNK, generator).to(forget_NCHW.device)
        images_BCHW = to_uint8(grow(teacher, operator, images_BCHW, generator))
        passed_BCHW = images_BCHW[~looks_forgotten(images_BCHW)]
        kept.append(passed_BCHW)
        num_kept += len(passed_BCHW)
        tried += CHUNK
    return Synthetic(torch.cat(kept)[:num], tried - num_kept)


def grow(teacher: Any, operator: Operator, images_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Let the teacher complete the images, again and again where each time another part is hidden."""
    height, width = images_BCHW.shape[-2:]
    for _ in range(1 if operator.fixed else ROUNDS):
        visible_BHW = operator.draw(len(images_BCHW), height, width, generator).to(images_BCHW.device)
        images_BCHW = teacher.complete(images_BCHW, visible_BHW, generator=generator)
    return images_BCHW


def _filter(teacher: Any, operator: Operator, forget_NCHW: Tensor, seed: int) -> Callable[[Tensor], Tensor]:
    """(B, C, H, W) uint8 -> (B,) True where the teacher takes the image for a forget image."""
    height, width = forget_NCHW.shape[-2:]
    visible_1HW = operator.draw(1, height, width, generator_for(seed, "synthetic mask")).to(forget_NCHW.device)

    def features(images_BCHW: Tensor) -> Tensor:
        parts = images_BCHW.split(CHUNK)
        return torch.cat(
            [pooled(teacher.encode(to_float(part), visible_1HW.expand(len(part), -1, -1))) for part in parts]
        )

    forget_NF = features(forget_NCHW)
    nearest_N = torch.cdist(forget_NF, forget_NF).fill_diagonal_(torch.inf).min(1).values
    limit = nearest_N.median() if len(forget_NF) > 1 else nearest_N.new_zeros(())
    return lambda images_BCHW: torch.cdist(features(images_BCHW), forget_NF).min(1).values < limit


# --- where images start from ---


def from_noise(num_channels: int, height: int, width: int) -> Start:
    """Coloured noise: power falls with frequency as in photographs (Baradad et al., NeurIPS 2021, arXiv:2106.05963).

    Not white: the teacher's embedding of white noise is where forget images are sent.
    """

    def draw(num: int, generator: torch.Generator) -> Tensor:
        level_N111, contrast_N111, slope_N111 = (
            low + (high - low) * torch.rand(num, 1, 1, 1, generator=generator)
            for low, high in ((-0.6, 0.6), (0.2, 0.7), (0.5, 2.0))
        )
        waves_NCHW = _coloured(torch.randn(num, num_channels, height, width, generator=generator), slope_N111)
        grey_N1HW = waves_NCHW.mean(1, keepdim=True) * num_channels**0.5
        images_NCHW: Tensor = level_N111 + contrast_N111 * (0.8 * grey_N1HW + 0.2 * waves_NCHW)
        return images_NCHW.clamp(-1, 1)

    return draw


def _coloured(white_NCHW: Tensor, slope_N111: Tensor) -> Tensor:
    """Amplitude proportional to 1 / frequency^slope, mean 0, deviation 1 in each image and channel."""
    height, width = white_NCHW.shape[-2:]
    frequency_HK = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    frequency_HK[0, 0] = torch.inf
    spectrum_NCHK = torch.fft.rfft2(white_NCHW) / frequency_HK**slope_N111
    waves_NCHW: Tensor = torch.fft.irfft2(spectrum_NCHK, s=(height, width))
    return waves_NCHW / waves_NCHW.std((2, 3), keepdim=True).clamp(min=1e-6)


def from_prototypes(means_NCHW: Tensor) -> Start:
    """One mean image with some of another: turned, stretched, moved, in more contrast, under a little coloured noise.

    A mean is flatter than what it is the mean of, and there are few; the model saw sharper images, all different.
    """
    num_means, num_channels, height, width = means_NCHW.shape
    noise = from_noise(num_channels, height, width)

    def draw(num: int, generator: torch.Generator) -> Tensor:
        one_N, other_N = torch.randint(num_means, (2, num), generator=generator)
        share_N111, contrast_N111, grain_N111 = (
            _uniform(low, high, num, generator).view(-1, 1, 1, 1) for low, high in ((0, 0.3), (1, 3), (0, 0.1))
        )
        mixed_NCHW = (1 - share_N111) * means_NCHW[one_N] + share_N111 * means_NCHW[other_N]
        centre_N111 = mixed_NCHW.mean((1, 2, 3), keepdim=True)
        images_NCHW = _moved(centre_N111 + contrast_N111 * (mixed_NCHW - centre_N111), generator)
        return ((1 - grain_N111) * images_NCHW + grain_N111 * noise(num, generator)).clamp(-1, 1)

    return draw


def _uniform(low: float, high: float, num: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(num, generator=generator)


def _moved(images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned by up to 14 degrees, stretched by .85 to 1.2, sheared by .25, moved by a tenth of its side."""
    num = len(images_NCHW)
    angle_N, across_N, down_N, shear_N, right_N, below_N = (
        _uniform(low, high, num, generator)
        for low, high in ((-0.25, 0.25), (0.85, 1.2), (0.85, 1.2), (-0.25, 0.25), (-0.2, 0.2), (-0.2, 0.2))
    )
    first_N3 = torch.stack((angle_N.cos() / across_N, shear_N - angle_N.sin() / across_N, right_N), dim=1)
    second_N3 = torch.stack((angle_N.sin() / down_N, angle_N.cos() / down_N, below_N), dim=1)
    places = F.affine_grid(torch.stack((first_N3, second_N3), dim=1), list(images_NCHW.shape), align_corners=False)
    return F.grid_sample(images_NCHW, places, padding_mode="border", align_corners=False)


def from_crops(images_NCHW: Tensor) -> Start:
    """Square parts of (uint8) images, sides of half to the whole, enlarged to the whole; none is mirrored."""

    def draw(num: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(images_NCHW), (num,), generator=generator)
        return torch.stack([_crop(to_float(images_NCHW[row].cpu()), generator) for row in rows])

    return draw


def _crop(image_CHW: Tensor, generator: torch.Generator) -> Tensor:
    height, width = image_CHW.shape[-2:]
    share = 0.5 + 0.5 * float(torch.rand((), generator=generator))
    rows, columns = max(round(share * height), 1), max(round(share * width), 1)
    top = int(torch.randint(height - rows + 1, (), generator=generator))
    left = int(torch.randint(width - columns + 1, (), generator=generator))
    part_1CHW = image_CHW[None, :, top : top + rows, left : left + columns]
    return F.interpolate(part_1CHW, (height, width), mode="bilinear", antialias=True)[0].clamp(-1, 1)
