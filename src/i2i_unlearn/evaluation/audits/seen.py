"""What a model makes of a set of images, one number per image: worked out once and shared by the audits that ask.

Where nothing is drawn at random (a fixed operator, a family whose loss and completions are always the same), these
numbers are those that `evaluate` has of every scored image, and no model runs again. Otherwise they are averaged over
`audits.num_completions` draws of the audited images and, where the operator draws, losses over as many masks.

Shape letters: N images, B batch, D features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i_unlearn.evaluation.audits.base import AuditInputs, ImageSet
from i2i_unlearn.evaluation.metrics.bootstrap import Floats
from i2i_unlearn.evaluation.metrics.feature_cosine import cosine
from i2i_unlearn.evaluation.metrics.hole_psnr import SMALLEST_ERROR, hole_error
from i2i_unlearn.evaluation.metrics.observations import ImageFacts
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.progress import Advance

MOST_IMAGES = 10_000
"""Of more scored images, these many at random: all that a rate at .1 % needs, and resampling them fits in memory."""


@dataclass(frozen=True)
class Losses:
    """The training loss of one model on one set."""

    loss_N: Floats
    positions_N: NDArray[np.int64]
    """Of the images in the rows of the scored set."""
    labels_N: NDArray[np.str_]
    num_averaged: int
    """Draws and masks; 1 where nothing is random."""


@dataclass(frozen=True)
class Likeness:
    """How alike completions of one model and originals are, on the images of `Losses`."""

    log_error_N: Floats
    cosine_N: Floats
    """Both of the images whose features were computed: all of `Losses`, or evaluate.max_feature_images at random."""
    labels_N: NDArray[np.str_]
    num_averaged: int


Found = TypeVar("Found", Losses, Likeness)


def losses_of(inputs: AuditInputs, model: str, set_name: str, advance: Advance, audit: str) -> Losses:
    """Losses of a model on a set, `advance` by the number of audited images.

    Raises:
        UserError: a loss is not finite.
    """
    return _once(inputs, ("loss", model, set_name), lambda then: _losses(inputs, model, set_name, then), advance, audit)


def losses_of_all(inputs: AuditInputs, model: str, sets: Sequence[str], advance: Advance, audit: str) -> Losses:
    """As `losses_of`, of several sets one after the other."""
    return _joined([losses_of(inputs, model, name, advance, audit) for name in sets])


def likeness_of_all(inputs: AuditInputs, model: str, sets: Sequence[str], advance: Advance, audit: str) -> Likeness:
    """As `likeness_of`, of several sets one after the other."""
    return _joined([likeness_of(inputs, model, name, advance, audit) for name in sets])


def likeness_of(inputs: AuditInputs, model: str, set_name: str, advance: Advance, audit: str) -> Likeness:
    """As `losses_of`, of completions."""
    return _once(
        inputs, ("complete", model, set_name), lambda then: _likeness(inputs, model, set_name, then), advance, audit
    )


def _joined(each: Sequence[Found]) -> Found:
    """Arrays of several sets one after the other; all are averaged over as many draws."""
    names = [field.name for field in fields(each[0]) if field.name != "num_averaged"]
    arrays: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in each]) for name in names}
    return replace(each[0], **arrays)


def log_loss(losses: Losses) -> Floats:
    """Logarithm of the loss (N,); a loss of 0 counts as the smallest error."""
    return np.asarray(np.log(np.maximum(losses.loss_N, SMALLEST_ERROR)))


def _once(
    inputs: AuditInputs, key: tuple[str, str, str], make: Callable[[Advance], Found], advance: Advance, audit: str
) -> Found:
    """From the inputs' cache. The bar moves by the whole set, whoever worked it out."""
    done = 0

    def count(units: int = 1, note: str = "") -> None:
        nonlocal done
        done += units
        advance(units, audit)

    if key not in inputs.cache:
        try:
            inputs.cache[key] = make(count)
        except _NotFinite:
            raise UserError(
                f"audit {audit}: the {key[1]} model gives numbers that are not finite on {key[2]}; its weights are"
                " broken, make it again"
            ) from None
    if len(inputs.sets[key[2]]) > done:
        advance(len(inputs.sets[key[2]]) - done, audit)
    found: Found = inputs.cache[key]
    return found


class _NotFinite(Exception):
    """Caught in this module, which adds whose numbers they are."""


def _losses(inputs: AuditInputs, name: str, set_name: str, advance: Advance) -> Losses:
    known = _known(inputs, name, set_name)
    if known is not None:
        facts, positions_N = known
        return Losses(_finite(facts.own_loss_N[positions_N]), positions_N, _labels(inputs, set_name, positions_N), 1)
    images, model = inputs.sets[set_name], inputs.models[name]

    def loss(_: slice, images_BCHW: Tensor, visible_BHW: Tensor, generator: torch.Generator) -> Tensor:
        return model.training_loss(images_BCHW, visible_BHW, generator=generator).float().cpu()

    loss_N, num = averaged(inputs, images, loss, advance, "membership", "loss", set_name, masks=True)
    positions_N = _positions(inputs, set_name)
    return Losses(loss_N, positions_N, _labels(inputs, set_name, positions_N), num)


def _likeness(inputs: AuditInputs, name: str, set_name: str, advance: Advance) -> Likeness:
    known = _known(inputs, name, set_name)
    if known is not None:
        facts, positions_N = known
        positions_N = positions_N[~np.isnan(facts.feature_cosine_N[positions_N])]
        error_N, cosine_N = (_finite(values[positions_N]) for values in (facts.hole_error_N, facts.feature_cosine_N))
        num = 1
    else:
        images, model = inputs.sets[set_name], inputs.models[name]
        features_ND = _features(inputs, set_name)

        def similarity(rows: slice, images_BCHW: Tensor, visible_BHW: Tensor, generator: torch.Generator) -> Tensor:
            completed = model.complete(images_BCHW, visible_BHW, generator=generator)
            error_B = hole_error(completed, images_BCHW, visible_BHW).cpu()
            alike_B = torch.from_numpy(cosine(inputs.extractor(completed).numpy(), features_ND[rows].numpy()))
            return torch.stack((error_B, alike_B), 1)

        found_N2, num = averaged(inputs, images, similarity, advance, "membership", "complete", set_name)
        error_N, cosine_N = found_N2[:, 0], found_N2[:, 1]
        positions_N = _positions(inputs, set_name)
    labels_N = _labels(inputs, set_name, positions_N)
    return Likeness(np.log(np.maximum(error_N, SMALLEST_ERROR)), cosine_N, labels_N, num)


def _finite(values_N: NDArray[Any]) -> Floats:
    if not np.isfinite(values_N).all():
        raise _NotFinite
    return values_N.astype(np.float64)


def _known(inputs: AuditInputs, model: str, set_name: str) -> tuple[ImageFacts, NDArray[np.int64]] | None:
    """What `evaluate` saw of the model and which rows of it to take; None where chance has a part in it."""
    seen = inputs.observed.get(set_name, {}).get(model)
    if seen is None or _is_random(inputs):
        return None
    num = len(seen.own_loss_N)
    if num <= MOST_IMAGES:
        return seen, np.arange(num)
    rng = inputs.rng("seen", "subset", set_name)
    return seen, np.sort(rng.choice(num, MOST_IMAGES, replace=False))


@torch.inference_mode()
def _is_random(inputs: AuditInputs) -> bool:
    """Whether masks, losses or completions change with the random numbers; tried on one batch of one model."""
    if not inputs.operator.fixed:
        return True
    if "is_random" not in inputs.cache:
        images = next(images for images in inputs.sets.values() if len(images))
        images_BCHW, visible_BHW = next(images.batches(inputs.batch_size, inputs.device))
        model = next(iter(inputs.models.values()))
        one, other = (
            (
                model.training_loss(images_BCHW, visible_BHW, generator=inputs.generator("seen", number)),
                model.complete(images_BCHW, visible_BHW, generator=inputs.generator("seen", number)),
            )
            for number in range(2)
        )
        inputs.cache["is_random"] = not all(torch.equal(*both) for both in zip(one, other, strict=True))
    return bool(inputs.cache["is_random"])


def _positions(inputs: AuditInputs, set_name: str) -> NDArray[np.int64]:
    return inputs.positions.get(set_name, np.arange(len(inputs.sets[set_name])))


def _labels(inputs: AuditInputs, set_name: str, positions_N: NDArray[np.int64]) -> NDArray[np.str_]:
    """Classes; of no name where the data have none."""
    known = inputs.labels.get(set_name)
    return np.full(len(positions_N), "") if known is None else known[positions_N]


def _features(inputs: AuditInputs, set_name: str) -> Tensor:
    """Of the originals (N, D)."""
    key = ("features", set_name)
    if key not in inputs.cache:
        batches = inputs.sets[set_name].batches(inputs.batch_size, inputs.device)
        inputs.cache[key] = torch.cat([inputs.extractor(images_BCHW) for images_BCHW, _ in batches])
    features_ND: Tensor = inputs.cache[key]
    return features_ND


Look = Callable[[slice, Tensor, Tensor, torch.Generator], Tensor]
"""(rows, images_BCHW, visible_BHW, generator) -> numbers (B, ...) on the CPU."""


@torch.inference_mode()
def averaged(
    inputs: AuditInputs, images: ImageSet, look: Look, advance: Advance, *purpose: str, masks: bool = False
) -> tuple[Floats, int]:
    """Means of what `look` gives (N, ...), and over how many draws: `num_completions`, or 1 where nothing is random.

    Draw k of every model has the same random numbers. With `masks`, each draw but the first has masks of its own where
    the operator draws them.
    """
    num = inputs.settings.num_completions
    generators = [inputs.generator(*purpose, draw) for draw in range(num)]
    drawing = [inputs.generator(*purpose, "mask", draw) for draw in range(num)]
    parts, start = [], 0
    for images_BCHW, visible_BHW in images.batches(inputs.batch_size, inputs.device):
        rows = slice(start, start + len(images_BCHW))
        draws = [look(rows, images_BCHW, visible_BHW, generators[0])]
        for number in range(1, num):
            own_BHW = visible_BHW
            if masks and not inputs.operator.fixed:
                num_rows, _, height, width = images_BCHW.shape
                drawn = inputs.operator.draw(num_rows, height, width, drawing[number])
                own_BHW = drawn.to(visible_BHW.device)
            draws.append(look(rows, images_BCHW, own_BHW, generators[number]))
            if start == 0 and number == 1 and torch.equal(draws[0], draws[1]):
                num, draws = 1, draws[:1]  # other random numbers, same result: a family that draws nothing at random
                break
        parts.append(torch.stack(draws).double().mean(0))
        start = rows.stop
        advance(len(images_BCHW), purpose[0])
    return _finite(torch.cat(parts).numpy()), num
