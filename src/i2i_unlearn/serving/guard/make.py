"""Builds the similarity filter and measures its rates: a command, not a step of the pipeline.

Ordinary images are the retain set and the retain holdout. Half of them set the threshold, the other half measures the
false-alarm rate at it. As in serving, both the image as sent and its completion are compared. Hits are measured on the
forget images and on altered copies of them (uint8 H, W, C).
"""

import datetime
import io
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest

from i2i_unlearn.config.sections import GuardConfig
from i2i_unlearn.data.images.reading import load_pixels, wanted_by
from i2i_unlearn.data.request import read_request
from i2i_unlearn.data.split.manifest import FORGET, RETAIN, RETAIN_HOLDOUT, read_manifest
from i2i_unlearn.models import load_model
from i2i_unlearn.models.extractors import extractor_label, load_extractor
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.randomness import derive_seed, generator_for
from i2i_unlearn.serving.completion import Completer, Pixels, picture_of
from i2i_unlearn.serving.guard.filter import (
    SCHEMA_VERSION,
    WHAT_IT_IS,
    Guard,
    GuardFacts,
    Rate,
    around,
    features_of,
    load_guard,
    write_guard,
)
from i2i_unlearn.support import files
from i2i_unlearn.support.device import num_threads
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.progress import progress

FALSE_ALARMS = "false alarms"
HIDDEN = "part to be filled is blank"
CONFIDENCE = 0.95
CROP = 0.8  # of each side
BRIGHTNESS = 1.4
JPEG_QUALITY = 40
_MID_GREY = 128
_LEAST_ORDINARY = 20  # even a half of 10 says next to nothing

Facts = dict[str, float | str]


def run(
    images: str,
    splits: str | Path,
    requests: str | Path,
    model: str | Path,
    out: str | Path,
    config: GuardConfig,
    *,
    today: datetime.date,
    expires: datetime.date | None = None,
    active: Collection[str] | None = None,
) -> Facts:
    """Make a guard for the split's forget set; return `told` of it.

    The guard's last day is the latest of the active requests, pauses included, unless `expires` names another. `model`
    is the directory of the model that is served until then, whose completions are compared. `active`: ids of the active
    requests, which the split must be of; None = those of the split.

    Raises:
        UserError: an input is missing or damaged, the split is of other requests, there is no forget image or too few
            others, or the last day has passed.
    """
    manifest = read_manifest(Path(splits) / "manifest.parquet", images)
    check_active(splits, manifest.requests, active, "run `i2i-unlearn split` again")
    asked = [read_request(Path(requests) / f"{id_}.yaml") for id_ in manifest.requests]
    last_day = expires or max(request.last_day(today) for request in asked)
    if last_day < today:
        raise UserError(
            f"the guard would have expired on {last_day}, the request is overdue; give a later day with --expires"
        )
    forget, ordinary = manifest.of(FORGET), manifest.of(RETAIN, RETAIN_HOLDOUT)
    if not len(forget) or len(ordinary) < _LEAST_ORDINARY:
        raise UserError(
            f"{splits}: {len(forget)} forget and {len(ordinary)} retain images; a guard needs at least 1 and"
            f" {_LEAST_ORDINARY}"
        )
    network = load_model(model, config.model).requires_grad_(False)
    extractor = load_extractor(config.extractor, torch.device("cpu"))

    def pixels(rows: pd.DataFrame, what: str) -> Pixels:
        loaded = load_pixels(images, rows, **wanted_by(network), description=what)
        return loaded.permute(0, 2, 3, 1).numpy()

    operator = make_operator(config.operator, config.keep_fraction, config.operator_patch_size)
    completer = Completer(network, operator)
    with num_threads(config.num_threads):
        forget_NHWC, ordinary_NHWC = pixels(forget, "forget images"), pixels(_some(ordinary, config), "other images")
        half = len(ordinary_NHWC) // 2
        mean_D = features_of(extractor, ordinary_NHWC[:half]).mean(0)
        forget_ND = around(features_of(extractor, forget_NHWC), mean_D)
        facts = GuardFacts(
            schema_version=SCHEMA_VERSION,
            what=WHAT_IT_IS,
            requests=list(manifest.requests),
            expires=last_day,
            extractor=config.extractor,
            extractor_label=extractor_label(config.extractor),
            threshold=0.0,
            false_alarms=config.false_alarms,
            measured={},
            num_forget=len(forget),
            operator=config.operator,
            keep_fraction=config.keep_fraction,
            model_sha256=files.digest_folder(model),
        )
        guard = Guard(facts, extractor, mean_D, forget_ND)
        threshold, rates = _rates(_Measured(guard, completer, config), forget_NHWC, ordinary_NHWC, half, config)
        facts = facts.model_copy(update={"threshold": threshold, "measured": rates})
        write_guard(replace(guard, facts=facts), Path(out))
    return told(facts)


def check_active(what: str | Path, made_for: Collection[str], active: Collection[str] | None, remedy: str) -> None:
    """Refuse what was made for other requests than the active ones (None: not known)."""
    if active is not None and set(made_for) != set(active):
        raise UserError(
            f"{what}: was made for the requests {', '.join(sorted(made_for))}, but split.requests of params.yaml says "
            f"{', '.join(sorted(active)) or 'none'}; {remedy}"
        )


def check(folder: str | Path, today: datetime.date, active: Collection[str] | None = None) -> Facts:
    """`told` of a guard and its days left, after loading it as a server does.

    Raises:
        UserError: as `guard.filter.load_guard`, or it was made for other requests than the `active` ones.
    """
    facts = load_guard(folder, today).facts
    remedy = "make it again, or delete it if its requests are carried out"
    check_active(folder, facts.requests, active, remedy)
    return {**told(facts), "days_left": (facts.expires - today).days}


def told(facts: GuardFacts) -> Facts:
    """What a person should know about a guard."""
    return {
        "what": facts.what,
        "requests": ", ".join(facts.requests),
        "expires": facts.expires.isoformat(),
        "forget_images": facts.num_forget,
        "extractor": facts.extractor_label,
        "threshold": round(facts.threshold, 4),
        "false_alarms_asked": facts.false_alarms,
        **{name: str(one) for name, one in facts.measured.items()},
    }


def _some(rows: pd.DataFrame, config: GuardConfig) -> pd.DataFrame:
    """At most `max_images`, in random order, so that both halves are alike."""
    rng = np.random.default_rng(derive_seed(config.seed, "guard", "ordinary"))
    return rows.iloc[rng.permutation(len(rows))[: config.max_images]].reset_index(drop=True)


@dataclass(frozen=True)
class _Measured:
    """Similarities as serving sees them."""

    guard: Guard
    completer: Completer
    config: GuardConfig

    def similarities(self, images_BHWC: Pixels, *, blank: bool = False) -> NDArray[np.float64]:
        """The larger of image's and completion's; with `blank` the part to be filled is grey in what is sent."""
        generator = generator_for(self.config.seed, "guard", "complete")
        masks_BHW = self.completer.masks(len(images_BHWC), generator)
        if blank:
            images_BHWC = np.where(masks_BHW[..., None], images_BHWC, np.uint8(_MID_GREY))
        completed_BHWC = self.completer(images_BHWC, masks_BHW, generator)
        return np.maximum(self.guard.similarities(images_BHWC), self.guard.similarities(completed_BHWC))


def _rates(
    measured: _Measured, forget_NHWC: Pixels, ordinary_NHWC: Pixels, half: int, config: GuardConfig
) -> tuple[float, dict[str, Rate]]:
    shown = forget_NHWC[: config.max_images]
    with progress("guard", 3 + len(ALTERED)) as advance:

        def look(images_NHWC: Pixels, *, blank: bool = False) -> NDArray[np.float64]:
            similarities = measured.similarities(images_NHWC, blank=blank)
            advance()
            return similarities

        threshold = threshold_for(look(ordinary_NHWC[:half]), config.false_alarms)
        rates = {FALSE_ALARMS: rate(look(ordinary_NHWC[half:]), threshold)}
        for name, change in ALTERED.items():
            rates[f"hits, {name}"] = rate(look(np.stack([change(one) for one in shown])), threshold)
        rates[f"hits, {HIDDEN}"] = rate(look(shown, blank=True), threshold)
    return threshold, rates


def _with_picture(change: Callable[[Image.Image], Image.Image]) -> Callable[[Pixels], Pixels]:
    def changed(image_HWC: Pixels) -> Pixels:
        return np.asarray(change(picture_of(image_HWC)), dtype=np.uint8).reshape(image_HWC.shape)

    return changed


def _crop(picture: Image.Image) -> Image.Image:
    left, top = picture.width * (1 - CROP) / 2, picture.height * (1 - CROP) / 2
    box = (left, top, picture.width - left, picture.height - top)
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=box)


def _jpeg(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Image.open(buffer)


def _brighter(image_HWC: Pixels) -> Pixels:
    return (image_HWC * BRIGHTNESS).clip(0, 255).astype(np.uint8)


ALTERED: dict[str, Callable[[Pixels], Pixels]] = {
    "as it is": lambda image_HWC: image_HWC,
    "crop": _with_picture(_crop),
    "brightness": _brighter,
    "jpeg": _with_picture(_jpeg),
}


def threshold_for(similarities: NDArray[np.float64], false_alarms: float) -> float:
    """The lowest threshold at which at most `false_alarms` of these ordinary images are refused (refused = above it).

    With few images it is the largest similarity: 50 images cannot show a rate of 1 in 100.
    """
    allowed = math.floor(false_alarms * len(similarities))
    return float(np.sort(similarities)[len(similarities) - 1 - allowed])


def rate(similarities: NDArray[np.float64], threshold: float) -> Rate:
    """How many of these images are refused."""
    refused, total = int((similarities > threshold).sum()), len(similarities)
    interval = binomtest(refused, total).proportion_ci(CONFIDENCE, method="exact")
    return Rate(refused / total, float(interval.low), float(interval.high), total)
