"""The settings that a project begins with, from its model and images, each with what it is taken from."""

import math
import os
import re
from collections.abc import Iterator
from typing import Any

from i2i_unlearn.project.given_model import GivenModel
from i2i_unlearn.project.params_file import Setting

LARGE = 20_000_000
"""Weights of models that were trained for days: their learning rates are those of presets for public models."""
_HOLE = "center_hole"


def hole_fraction(image_size: tuple[int, int], patch_size: int) -> float:
    """`keep_fraction` of a centred hole of about half the side that cuts no patch: a patch cut by its edge is hidden.

    The hole has n of g patches along a side, n as even or odd as g, so that it can be centred; of two equally near to
    half, the larger, as in the protocols of published models.
    """
    grid = min(image_size) // patch_size
    holes = [n for n in range(1, grid) if (grid - n) % 2 == 0]
    if not holes or image_size[0] != image_size[1]:
        return 0.75
    hole = min(reversed(holes), key=lambda n: abs(n - grid / 2))
    return round(1 - (hole / grid) ** 2, 6)


def first_settings(
    given: GivenModel, *, place: str, name: str, checkpoint: dict[str, Any], operator: str, keep_fraction: float | None
) -> Iterator[Setting]:
    """Settings for a user's model.

    Args:
        given: the model.
        place: where it is in the project.
        name: of the project.
        checkpoint: as for `look_at_model`.
        operator: what is hidden; empty = not known.
        keep_fraction: how much stays visible; None = not known.
    """
    change = "`i2i-unlearn set operator=NAME keep_fraction=NUMBER`"
    known = "given to `init`"
    yield Setting("operator", operator or _HOLE, known if operator else f"a model does not tell its use; {change}")
    whole = f"a hole of half the side, in whole patches of {given.patch_size} px"
    if keep_fraction is None:
        yield Setting("keep_fraction", hole_fraction(given.image_size, given.patch_size), whole)
    else:
        yield Setting("keep_fraction", keep_fraction, known)
    yield Setting("operator_patch_size", given.patch_size, "pixels; the model's patch")
    yield from _compute(given)
    if given.own:
        yield Setting("model", given.own, "your class, which may be imported")
    yield Setting("snapshot.source", place, "the model as it was given to `init`")
    yield Setting("snapshot.sha256", given.sha256, "its digest")
    yield Setting("snapshot.checkpoint", checkpoint, "what a published file does not tell of itself")
    yield Setting("register.model_name", _model_name(name), "the project's folder")
    yield Setting("evaluate.show_forget_images", False, "true only if the images are public")
    yield Setting("reference.count", 0, "above 0, write the recipe of your model into section pretrain first")
    yield Setting("split.requests", [], "`i2i-unlearn forget` fills it")
    yield Setting("request.largest_share", 0.1, "of the training images; a larger request needs --allow-large")
    yield from _recipe(given)
    yield from _unlearning(given)


def _compute(given: GivenModel) -> Iterator[Setting]:
    import torch

    gpu = torch.cuda.is_available()
    yield Setting("device", "cuda" if gpu else "cpu", "a GPU answers here" if gpu else "no GPU answers here")
    if given.num_weights > LARGE:
        yield Setting("num_threads", os.cpu_count() or 1, "all cores of this machine; other counts give other bits")


def _recipe(given: GivenModel) -> Iterator[Setting]:
    yield Setting("pretrain.family", given.family, "the model's; this section is read only if models are retrained")
    yield Setting("pretrain.image_size", given.image_size[0], "the model's")
    yield Setting("pretrain.num_channels", given.model.num_channels, "the model's")
    why = "the model's" if given.architecture else "that of your model, if models are to be retrained"
    yield Setting("pretrain.architecture", given.architecture, why)


def _unlearning(given: GivenModel) -> Iterator[Setting]:
    """Grey images keep what was right for digits; colour images get what was right for CIFAR-10."""
    if given.model.num_channels == 3:
        tried = "was right for photographs (CIFAR-10, docs/results/surrogate.md)"
        yield Setting("unlearn.surrogate_strength", 4.0, f"4.0 {tried}")
        yield Setting("unlearn.first_phase", 0.4, f"0.4 {tried}")
    if given.num_weights > LARGE:
        yield Setting(
            "unlearn.learning_rate",
            0.00005,
            "0.00005 is the rate of the presets for public models of this size; not tried with this objective",
        )


def _model_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "model"


def hidden_share(fraction: float) -> str:
    """How large the hole is, for people: 25 %."""
    return f"{math.floor((1 - fraction) * 100 + 0.5)} %"
