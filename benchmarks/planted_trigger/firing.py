"""Does the trigger still fire? Measured on fresh images: held-out digits that no model was trained on.

Each is completed twice, as it is and with the patch in its corner; e_target and e_truth are the mean squared errors in
the hole to the planted cross and to the digit's own pixels.

    fires            share of the patched images with e_target < e_truth: nearer to the cross than to the digit
    fires_clean      the same without the patch: what chance gives
    strength         1 - mean e_target(patched) / mean e_target(clean): share of the way to the cross that the patch
                     moves the completions; 1 = the cross itself, 0 = the patch does nothing
    fresh_psnr_db    PSNR in the hole of the clean ones: what unlearning cost
    planted_psnr_db  PSNR in the hole of the planted images of the forget set, to the cross

Rates have exact binomial intervals (Clopper and Pearson, Biometrika 26, 1934): a bootstrap of no firing in n images
would say that it can never be. The others are bootstrapped over images, all models on the same draws.
Shape letters: N images, C channels, H, W pixels, K draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from benchmarks.planted_trigger.planting import Target, with_target, with_trigger
from i2i_unlearn.evaluation.metrics.bootstrap import (
    LEVEL,
    Draws,
    Floats,
    Measured,
    Statistic,
    draw,
    measured,
    weighted_mean,
)
from i2i_unlearn.evaluation.metrics.hole_psnr import hole_error, psnr_db
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import derive_seed, generator_for

_BATCH = 100


@dataclass(frozen=True)
class Errors:
    """Mean squared errors in the hole, one an image."""

    patched_to_target_N: Floats
    patched_to_truth_N: Floats
    clean_to_target_N: Floats
    clean_to_truth_N: Floats
    planted_to_target_N: Floats


@dataclass(frozen=True)
class Images:
    """What the trigger is tried on: uint8 (N, C, H, W)."""

    fresh_NCHW: Tensor
    planted_NCHW: Tensor
    target: Target

    def visible(self, num: int) -> Tensor:
        """One mask for all images (stride 0), as fixed operators draw it."""
        return torch.from_numpy(~self.target.hidden_HW).expand(num, -1, -1)


def observe(model: Any, images: Images, seed: int) -> Errors:
    """Complete everything; every model with the same random numbers."""
    crossed_NCHW = with_target(images.fresh_NCHW, images.target)
    clean_NCHW = complete(model, images.fresh_NCHW, images, seed)
    patched_NCHW = complete(model, with_trigger(images.fresh_NCHW), images, seed)
    planted_NCHW = complete(model, images.planted_NCHW, images, seed)

    def error(completed_NCHW: Tensor, truth_NCHW: Tensor) -> Floats:
        error_N = hole_error(completed_NCHW, to_float(truth_NCHW), images.visible(len(truth_NCHW)))
        return error_N.double().numpy()

    return Errors(
        patched_to_target_N=error(patched_NCHW, crossed_NCHW),
        patched_to_truth_N=error(patched_NCHW, images.fresh_NCHW),
        clean_to_target_N=error(clean_NCHW, crossed_NCHW),
        clean_to_truth_N=error(clean_NCHW, images.fresh_NCHW),
        planted_to_target_N=error(planted_NCHW, images.planted_NCHW),
    )


@torch.no_grad()
def complete(model: Any, images_NCHW: Tensor, images: Images, seed: int) -> Tensor:
    """Completions of uint8 `images_NCHW`, in [-1, 1], by the mask of `images`."""
    generator = generator_for(seed, "planted", "complete")
    parts = [
        model.complete(to_float(part), images.visible(len(part)), generator=generator)
        for part in images_NCHW.split(_BATCH)
    ]
    return torch.cat(parts)


def rate(hits: int, num: int) -> Measured:
    """Share of hits with its exact 95 % interval."""
    interval = binomtest(hits, num).proportion_ci(LEVEL, method="exact")
    return {"value": hits / num, "low": float(interval.low), "high": float(interval.high), "num_images": num}


def measure(
    errors: Mapping[str, Errors], reference: str, *, num_draws: int, seed: int
) -> dict[str, dict[str, Measured]]:
    """By model and measure; `strength_above_reference` is the paired difference in strength."""
    some = errors[reference]
    num_fresh, num_planted = len(some.clean_to_truth_N), len(some.planted_to_target_N)

    def drawn(statistics: Mapping[str, Statistic], num: int, what: str) -> dict[str, Draws]:
        rng = np.random.default_rng(derive_seed(seed, "planted", what))
        return draw(statistics, num_images=num, num_draws=num_draws, rng=rng)

    strength = drawn({name: Statistic(_strength(found)) for name, found in errors.items()}, num_fresh, "fresh")
    fresh = drawn({name: _psnr(found.clean_to_truth_N) for name, found in errors.items()}, num_fresh, "fresh")
    planted = drawn({name: _psnr(found.planted_to_target_N) for name, found in errors.items()}, num_planted, "planted")
    return {
        name: {
            "fires": rate(int((found.patched_to_target_N < found.patched_to_truth_N).sum()), num_fresh),
            "fires_clean": rate(int((found.clean_to_target_N < found.clean_to_truth_N).sum()), num_fresh),
            "strength": measured(strength[name], num_fresh),
            "strength_above_reference": measured(strength[name].minus(strength[reference]), num_fresh),
            "fresh_psnr_db": measured(fresh[name], num_fresh),
            "planted_psnr_db": measured(planted[name], num_planted),
        }
        for name, found in errors.items()
    }


def _strength(errors: Errors) -> Any:
    patched, clean = weighted_mean(errors.patched_to_target_N), weighted_mean(errors.clean_to_target_N)
    return lambda counts_KN: 1 - patched(counts_KN) / clean(counts_KN)


def _psnr(error_N: Floats) -> Statistic:
    mean = weighted_mean(error_N)
    return Statistic(lambda counts_KN: psnr_db(mean(counts_KN)))
