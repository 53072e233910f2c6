"""Complete many images with a finished model: a command, not a step of the pipeline.

Each completion is a PNG that appears whole or not at all. A killed run continues where it stopped: `made_from.json` in
the folder says what the completions were made from, and a run with anything else is refused. Batches are always cut the
same way, and each draws its own random numbers, so the same inputs, settings and batch size give the same bytes,
interrupted or not.
"""

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from i2i_unlearn.config.sections import CompleteConfig
from i2i_unlearn.data.images.decoding import BY_DEFAULT, Depths, Reading, decode_each
from i2i_unlearn.data.images.reading import wanted_by
from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.serving.completion import Completer, picture_of, warning_of
from i2i_unlearn.serving.inputs import Inputs, Item, find_inputs
from i2i_unlearn.serving.source import Source, opened
from i2i_unlearn.support import files
from i2i_unlearn.support.device import num_threads, pick_device
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.progress import progress

SCHEMA_VERSION = 1
MADE_FROM = "made_from.json"
UNREADABLE = "unreadable.txt"

Facts = dict[str, float | str]


def run(
    model: str,
    images: str | Path,
    out: str | Path,
    config: CompleteConfig,
    *,
    asked: Mapping[str, Any] | None = None,
    image_column: str = "image",
    reading: Reading = BY_DEFAULT,
) -> Facts:
    """Complete the images that `images` names (serving/inputs.py) into the folder `out`.

    Images of another size than the model's are scaled, and cropped where the model says no other way
    (data/images/decoding.py). `model` is a model
    directory, models:/NAME/NUMBER or models:/NAME@ALIAS; a registered version's own operator and seed take precedence
    over `config`, and `asked` (operator, keep_fraction or seed) over both. `image_column` is that of Parquet files.
    `reading` says how image files become pixels; shards that `data import` wrote say it themselves.

    Returns:
        model, model_sha256, operator, keep_fraction, seed, num_images, num_completed (by this run), num_there (before),
        warning (empty if there is none).

    Raises:
        UserError: the model cannot be loaded, `out` holds completions of something else, or, at the end, some images
            could not be read; then all others are completed, and `unreadable.txt` lists these.
    """
    inputs, out = find_inputs(images, image_column, reading), Path(out)
    _check_apart(Path(images), out)
    with opened(model) as source:
        config = CompleteConfig(**{**config.model_dump(), **source.how, **(asked or {})})
        _claim(out, source, inputs, config)
        network = load_model(source.directory, config.model).to(pick_device(config.device)).requires_grad_(False)
        operator = make_operator(config.operator, config.keep_fraction, config.operator_patch_size)
        not_judged = warning_of(operator, source.operators)
        if not_judged:
            print(not_judged, file=sys.stderr)
        completer, total, num_completed = Completer(network, operator), len(inputs), 0
        unreadable: list[str] = []
        depths = Depths()
        with num_threads(config.num_threads), progress("completing", total) as advance:
            for number, items in enumerate(_batches(inputs, config.batch_size)):
                num_completed += _complete(out, completer, config.seed, number, items, unreadable, depths)
                advance(len(items))
    _list_unreadable(out, unreadable, total)
    return {
        "model": source.name,
        "model_sha256": source.sha256,
        "operator": config.operator,
        "keep_fraction": config.keep_fraction,
        "seed": config.seed,
        "num_images": total,
        "num_completed": num_completed,
        "num_there": total - num_completed,
        "warning": depths.warning(reading),
    }


def _check_apart(images: Path, out: Path) -> None:
    inside = images.resolve()
    if inside == out.resolve() or inside in out.resolve().parents:
        raise UserError(
            f"{out}: is inside the folder of the images, where completions would be taken for images; choose another"
        )


def _claim(out: Path, source: Source, inputs: Inputs, config: CompleteConfig) -> None:
    """Make `out` the folder of this work, or continue in it."""
    how = config.model_dump(mode="json", exclude={"device", "model"})
    made_from = {"schema_version": SCHEMA_VERSION, "model_sha256": source.sha256, **how, "inputs": inputs.digests()}
    if inputs.reading != BY_DEFAULT:
        made_from["images"] = asdict(inputs.reading)
    path = out / MADE_FROM
    if path.exists():
        before = files.read_json(path)
        other = [key for key in (*made_from, "images") if before.get(key) != made_from.get(key)]
        if other:
            raise UserError(
                f"{out}: holds completions of something else (differing: {', '.join(other)}); choose another folder, or"
                " remove it to start again"
            )
    elif out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: is not empty and holds no completions; choose another folder")
    else:
        files.write_json(path, made_from)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def _complete(
    out: Path,
    completer: Completer,
    seed: int,
    number: int,
    items: list[Item],
    unreadable: list[str],
    depths: Depths,
) -> int:
    """Complete what is missing of batch `number` and count it; all of it is computed, since that decides what is drawn.

    Reasons why images cannot be read are added to `unreadable`.
    """
    if all((out / item.name).exists() for item in items):
        return 0
    decoded = decode_each(
        ((item.where, item.read, item.reading) for item in items),
        **wanted_by(completer.model),
        on_broken=unreadable.append,
        depths=depths,
    )
    readable = [(out / items[place].name, pixels_CHW.transpose(1, 2, 0)) for place, pixels_CHW in decoded]
    if not readable:
        return 0
    generator = generator_for(seed, "complete", number)
    completed = completer(np.stack([pixels for _, pixels in readable]), None, generator)
    missing = [(path, image_HWC) for (path, _), image_HWC in zip(readable, completed, strict=True) if not path.exists()]
    with files.disk_full_as_user_error(out), files.folder_aside(out / "batch") as aside:
        for path, image_HWC in missing:
            picture_of(image_HWC).save(aside / "picture.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            (aside / "picture.png").replace(path)
    return len(missing)


def _list_unreadable(out: Path, unreadable: list[str], total: int) -> None:
    path = out / UNREADABLE
    path.unlink(missing_ok=True)
    if not unreadable:
        return
    with files.atomic_file(path) as aside:
        aside.write_text("".join(f"{line}\n" for line in unreadable), encoding="utf-8")
    raise UserError(
        f"{len(unreadable)} of {total} images could not be read, the others are completed; {path} lists them, the"
        f" first is {unreadable[0]}"
    )
