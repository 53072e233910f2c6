"""What the forget set added to the teacher's completions of it, told by a surrogate that is cheap to fit twice.

    K_all, K_without   kernel ridge regressions from visible to hidden pixels: with all images, without the forget set
    D(x) = K_without(x) - K_all(x)       what completions of x would change by (of a class, a subject, an image)
    I(x) = K_loo(x) - K_all(x)           the part of it that is the image's own (leave-one-out)

The ridge is the one at which the surrogate's gap between training and never-seen images is the teacher's
(calibrate.py), so that surrogate and teacher memorise alike. The kernel sees pixels and not the teacher's embedding,
which remembers the forget images itself: "without" would not be without them (docs/results/surrogate.md). Many images
cost one pass: the kernel is Nystroem's (features.py), and the fits need sums only (ridge.py).
Shape letters: N images, C channels, H, W pixels, P inputs, Q hidden values of an image (channels included).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.method.surrogate.calibrate import gap_db, ridge_for
from i2i_unlearn.method.surrogate.features import KernelFeatures, mean_squared_distance
from i2i_unlearn.method.surrogate.ridge import Ridge, Sums, own_influence
from i2i_unlearn.method.target_cache import CHUNK
from i2i_unlearn.models.operators import Operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.support.errors import UserError

MOST_FOR_GAP = 1024  # images that tell the teacher's gap: to about .1 dB
MOST_INPUTS = 4096  # more visible pixels are projected at random, which keeps distances to a few percent


@dataclass(frozen=True)
class SurrogateDifference:
    """D and I of each forget image, in the rows' order, (N, C, H, W) in pixels of [-1, 1]; 0 where visible."""

    difference_NCHW: Tensor
    own_NCHW: Tensor
    teacher_gap_db: float
    surrogate_gap_db: float
    ridge: float


@torch.no_grad()
def fit_difference(
    teacher: Any, operator: Operator, forget: Tensor, retain: Tensor, unseen: Tensor, *, rank: int, seed: int
) -> SurrogateDifference:
    """Fit the surrogate on images (uint8, on the teacher's device); the result lies there too.

    `unseen` are images that the teacher never saw, `rank` is the number of landmarks (more: finer and slower; cubic).

    Raises:
        UserError: the operator draws another mask for each image.
    """
    height, width = forget.shape[-2:]
    if not operator.fixed:
        raise UserError(
            f"operator={operator.name!r} hides other pixels of each image, and unlearn.objective=surrogate_difference "
            "needs one mask for all; choose an operator with a fixed mask, or set unlearn.objective to encoder_l2"
        )
    visible_HW = operator.draw(1, height, width, generator_for(seed))[0].to(forget.device)
    view = _View(teacher, visible_HW, seed)
    sets = _Sets(view, forget, retain, unseen, rank=rank, seed=seed)
    wanted_db = _teacher_gap(view, retain, unseen, seed)
    ridge = ridge_for(wanted_db, lambda ridge: sets.gap(sets.both.fit(ridge)))
    fit_all, fit_without = sets.both.fit(ridge), sets.retain.fit(ridge)
    predicted_NQ = fit_all(sets.forget_features_NK)
    own_NQ = own_influence(sets.forget_truth_NQ - predicted_NQ, fit_all.leverage(sets.forget_features_NK))
    return SurrogateDifference(
        difference_NCHW=view.painted(fit_without(sets.forget_features_NK) - predicted_NQ, forget),
        own_NCHW=view.painted(own_NQ, forget),
        teacher_gap_db=wanted_db,
        surrogate_gap_db=sets.gap(fit_all),
        ridge=ridge,
    )


class _View:
    """Images as the surrogate sees them: inputs from the visible part, truths from the hidden one; CPU, float64."""

    def __init__(self, teacher: Any, visible_HW: Tensor, seed: int) -> None:
        self.teacher = teacher
        self.visible_HW = visible_HW
        self._seed = seed
        self._projection: Tensor | None = None

    def visible(self, num: int) -> Tensor:
        return self.visible_HW.unsqueeze(0).expand(num, -1, -1)

    def inputs(self, images: Tensor) -> Tensor:
        """(N, P): visible pixels."""
        inputs_NP = to_float(images)[:, :, self.visible_HW].flatten(1).double().cpu()
        if inputs_NP.shape[1] <= MOST_INPUTS:
            return inputs_NP
        if self._projection is None:
            shape = (inputs_NP.shape[1], MOST_INPUTS // 4)
            drawn = torch.randn(shape, generator=generator_for(self._seed, "surrogate projection"))
            self._projection = drawn.double() / shape[1] ** 0.5
        return inputs_NP @ self._projection

    def truths(self, images: Tensor) -> Tensor:
        """(N, Q): hidden pixels."""
        return to_float(images)[:, :, ~self.visible_HW].flatten(1).double().cpu()

    def painted(self, values_NQ: Tensor, images: Tensor) -> Tensor:
        """Hidden values at their places, 0 elsewhere; on the images' device."""
        painted_NCHW = torch.zeros(images.shape, device=images.device)
        values = values_NQ.view(*images.shape[:2], -1).float().to(images.device)
        painted_NCHW[:, :, ~self.visible_HW] = values
        return painted_NCHW


class _Sets:
    """The sums of forget and retain set, and the never-seen images' features."""

    def __init__(self, view: _View, forget: Tensor, retain: Tensor, unseen: Tensor, *, rank: int, seed: int) -> None:
        features = self._features(view, forget, retain, rank, seed)
        self.forget_features_NK = _joined(forget, lambda part: features(view.inputs(part)))
        self.forget_truth_NQ = view.truths(forget)
        self.retain = _sums(retain, lambda part: (features(view.inputs(part)), view.truths(part)))
        self.both = self.retain + Sums.of(self.forget_features_NK, self.forget_truth_NQ)
        self._unseen = _sums(unseen, lambda part: (features(view.inputs(part)), view.truths(part)))

    @staticmethod
    def _features(view: _View, forget: Tensor, retain: Tensor, rank: int, seed: int) -> KernelFeatures:
        """Landmarks are drawn from forget and retain images alike, so that both are described as finely."""
        order = torch.randperm(len(forget) + len(retain), generator=generator_for(seed, "surrogate landmarks"))
        rows = order[:rank].sort().values
        is_forget = rows < len(forget)
        chosen = torch.cat(
            (
                forget[rows[is_forget].to(forget.device)],
                retain[(rows[~is_forget] - len(forget)).to(retain.device)],
            )
        )
        landmarks_KP = _joined(chosen, view.inputs)
        return KernelFeatures.fit(landmarks_KP, mean_squared_distance(landmarks_KP))

    def gap(self, fit: Ridge) -> float:
        """Between retain images and never-seen ones, in dB."""
        return gap_db(self.retain.mean_squared_error(fit), self._unseen.mean_squared_error(fit))


def _teacher_gap(view: _View, retain: Tensor, unseen: Tensor, seed: int) -> float:
    """The same gap, by the teacher's own training loss."""

    def loss(images: Tensor, name: str) -> float:
        order = torch.randperm(len(images), generator=generator_for(seed, "surrogate gap", name))
        chosen = images[order[:MOST_FOR_GAP].to(images.device)]
        generator = generator_for(seed, "surrogate loss", name)
        losses = [
            view.teacher.training_loss(to_float(part), view.visible(len(part)), generator=generator)
            for part in _parts(chosen)
        ]
        return float(torch.cat(losses).double().mean())

    return gap_db(loss(retain, "retain"), loss(unseen, "unseen"))


def _parts(images: Tensor) -> Iterator[Tensor]:
    for start in range(0, len(images), CHUNK):
        yield images[start : start + CHUNK]


def _joined(images: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([compute(part) for part in _parts(images)])


def _sums(images: Tensor, features_and_truths: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Sums:
    total: Sums | None = None
    for part in _parts(images):
        sums = Sums.of(*features_and_truths(part))
        total = sums if total is None else total + sums
    if total is None:
        raise ValueError("a set has no image")
    return total
