"""The project in the working folder: settings against model and images, the policy against the number of images."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from i2i_unlearn.cli import options
from i2i_unlearn.cli.doctor_checks.base import Line
from i2i_unlearn.support.errors import UserError

if TYPE_CHECKING:
    from i2i_unlearn.cli.request import Judging

PARAMS = Path("params.yaml")
GREY, COLOUR = 1, 3


class Shape(NamedTuple):
    """What a model takes, in pixels. `patch` 0: not told by its directory."""

    height: int
    width: int
    channels: int
    patch: int


def project() -> Iterator[Line]:
    """Lines on the project; one where the folder holds none, or its settings cannot be read."""
    from i2i_unlearn.cli.request import how_judged
    from i2i_unlearn.config.sections import load_params

    if not PARAMS.is_file():
        yield Line("project", "warn", f"no {PARAMS} in {Path.cwd()}", "i2i-unlearn init FOLDER makes a project")
        return
    try:
        params = load_params(PARAMS)
        check_sections(params)
        judging = how_judged(PARAMS, options.POLICIES)
    except UserError as fault:
        yield Line("settings", "fail", str(fault), f"correct {PARAMS}")
        return
    yield Line("settings", "ok", f"every section of {PARAMS} can be read")
    shape = shape_of_original(params)
    if shape:
        yield operator(params, shape)
    yield from images(options.IMAGES, shape)
    if judging and params["split"]["requests"]:
        yield decidable(params, judging)


def check_sections(params: Mapping[str, Any]) -> None:
    """Raise UserError if a section of params.yaml has a fault; how it is judged is read apart."""
    from i2i_unlearn.config.sections import CONFIGS, EvaluateConfig

    for name, config in CONFIGS.items():
        if name in params and config is not EvaluateConfig:
            config.from_params(params)


def shape_of_original(params: Mapping[str, Any]) -> Shape | None:
    """By the directory that `snapshot.source` names, or the recipe that makes it; None where neither tells."""
    source = Path(params["snapshot"]["source"])
    if (source / "config.json").is_file():
        return shape_of(json.loads((source / "config.json").read_text(encoding="utf-8")))
    if source == Path("artifacts/original/model"):
        return shape_of({**params["pretrain"]["architecture"], **params["pretrain"]})
    return None


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """From the keys of a model's config.json, or of its recipe."""
    size = config.get("image_size")
    sides = size if isinstance(size, list) and len(size) == 2 else [size, size]
    numbers = [*sides, config.get("num_channels"), config.get("patch_size", 0)]
    return Shape(*map(int, numbers)) if all(isinstance(one, int) for one in numbers) else None


def operator(params: Mapping[str, Any], shape: Shape) -> Line:
    """How much the operator leaves visible, and whether its edges cut the model's patches."""
    import torch

    from i2i_unlearn.models.operators import make_operator

    try:
        one = make_operator(params["operator"], float(params["keep_fraction"]), params["operator_patch_size"])
    except UserError as fault:
        return Line("operator", "fail", str(fault), "i2i-unlearn set operator=NAME")
    height, width, _, patch = shape
    visible = one.draw(1, height, width, torch.Generator().manual_seed(0))[0]
    found = f"{one.label} leaves {visible.float().mean():.0%} of {height}x{width} pixels visible"
    if patch and not (height % patch or width % patch):
        whole = visible.reshape(height // patch, patch, width // patch, patch).all(3).all(1)
        found += f", {whole.float().mean():.0%} of its patches of {patch} px whole"
        if not whole.any():
            return Line("operator", "fail", found, "raise keep_fraction, or operator_patch_size to the model's patch")
        if whole.sum() * patch * patch < visible.sum():
            advice = f"a patch that is cut counts as hidden; let edges lie on multiples of {patch} px if you can"
            return Line("operator", "warn", found, advice)
    return Line("operator", "ok", found)


def images(folder: str, shape: Shape | None) -> Iterator[Line]:
    """Number and sizes of the images, against what the model takes."""
    from i2i_unlearn.data.overview import overview

    try:
        facts = overview(folder)
    except UserError as fault:
        yield Line("images", "warn", str(fault), "i2i-unlearn data import --help")
        return
    sizes = list(facts["sizes"])
    found = f"{facts['num_images']:,} in {folder}, {sizes[0]}" + (f" and {len(sizes) - 1} others" * (len(sizes) > 1))
    if shape is None:
        yield Line("images", "ok", found)
        return
    takes = f"the model takes {shape.height}x{shape.width} {'grey' if shape.channels == GREY else 'colour'}"
    if faults := list(misfits(sizes, shape)):
        yield Line(
            "images", "warn", f"{found}; {takes}: {', '.join(faults)}", "choose others, unless the model was trained so"
        )
    else:
        yield Line("images", "ok", f"{found}; {takes}")


def misfits(sizes: list[str], shape: Shape) -> Iterator[str]:
    """What is lost or made up on the way to the model. `sizes`: 28x28 L, as `overview` gives them."""
    pixels, modes = zip(*(size.split(" ") for size in sizes), strict=True)
    heights, widths = zip(*(map(int, one.split("x")) for one in pixels), strict=True)
    if 2 * min(heights) <= shape.height or 2 * min(widths) <= shape.width:
        yield "images of half its size or less are enlarged"
    grey = [mode.startswith(("L", "I", "1")) for mode in modes]
    if shape.channels == GREY and not all(grey):
        yield "colour is lost"
    if shape.channels == COLOUR and all(grey):
        yield "all images are grey"


def decidable(params: Mapping[str, Any], judging: "Judging") -> Line:
    """Whether the policy can decide the active requests with these images and references."""
    from i2i_unlearn.cli.request import what_can_be_decided
    from i2i_unlearn.config.sections import SplitConfig
    from i2i_unlearn.data.overview import planned_counts
    from i2i_unlearn.data.request import read_request

    config = SplitConfig.from_params(params)
    try:
        first = read_request(options.REQUESTS / f"{config.requests[0]}.yaml")
        foresight = what_can_be_decided(planned_counts(first, options.IMAGES, options.REQUESTS, config), judging)
    except UserError as fault:
        return Line("policy", "fail", str(fault), "correct the request, or split.requests")
    if foresight is None:
        return Line("policy", "warn", "no policy is known", "i2i-unlearn request show ID says what is missing")
    found = f"{foresight.outcome()} ({', '.join(config.requests)})"
    for line in foresight.open_lines[:1]:
        return Line("policy", "warn", f"{found}; {line.line}: {line.lacks}", "i2i-unlearn request show ID lists all")
    return Line("policy", "ok", found)
