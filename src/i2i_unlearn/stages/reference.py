"""Stage `reference`: retrain without the forget set, with the recipe of `pretrain` and other initial weights.

Retrained models are the gold standard that unlearning is measured against. They are costly and optional.

    summary.json      kind (none | retrain | own: none of them was retrained here), count, seconds of all together
    1/, 2/, ...       of each: model/, summary.json, manifest.parquet (the split that it was trained with) and, where
                      it was retrained here, steps.jsonl

Finished ones wait in a folder next to the output until all are finished, so a killed run goes on where it was. A
reference that the output holds already, made from the same settings, inputs and code, is not trained again.
"""

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from i2i_unlearn.config.sections import ReferenceConfig
from i2i_unlearn.data.images.reading import load_pixels, wanted_by
from i2i_unlearn.data.split.manifest import (
    DROPPED,
    FORGET,
    PROXY_RETAIN,
    RETAIN,
    UNUSED,
    SplitManifest,
    read_manifest,
)
from i2i_unlearn.method.objectives.own_loss import OwnLoss
from i2i_unlearn.method.processes import ALONE, Processes
from i2i_unlearn.models import family_named, load_architecture, load_model
from i2i_unlearn.models.base import training_facts, training_phases
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.randomness import derive_seed, generator_for
from i2i_unlearn.support.device import pick_device
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_folder, digest_file, digest_files, digest_folder, read_json, write_json
from i2i_unlearn.support.workers import Answer, serve, side_by_side
from i2i_unlearn.training.launch import launch
from i2i_unlearn.training.original import ORIGINAL_IMAGES, ORIGINAL_STEPS, recorded_original
from i2i_unlearn.training.run import Facts, Output, Training, run_digest, train_and_write
from i2i_unlearn.training.sampling import Sampler, single_pool

TRAINED_ON = (RETAIN, PROXY_RETAIN, UNUSED)
"""Images that a cap left unused were trained on by the original, so a retrained model has them too."""
FAR = 2.0
"""A recipe whose images or steps differ from the original's by more than this factor makes another kind of model."""
SUMMARY, MANIFEST = "summary.json", "manifest.parquet"

Retrain = Callable[[str, Path, Path, Path, ReferenceConfig], Facts]


def run(
    images: str,
    splits: str | Path,
    teacher: str | Path,
    out: str | Path,
    config: ReferenceConfig,
    *,
    retrain: Retrain | None = None,
) -> Facts:
    """Retrain the teacher's architecture `config.count` times, and take the models that the user names.

    Of the teacher only its *.json files are read, and the summary next to it. `retrain` trains one of them elsewhere;
    None = here, `config.num_workers` side by side.

    Raises:
        UserError: wrong settings, a recipe that does not fit the teacher, a model of the user's that saw forget images
            or tells nothing about it, unreadable images, or a loss that is not finite.
    """
    splits, teacher, out = Path(splits), Path(teacher), Path(out)
    parts = config.parts()
    if parts:
        _check(splits, teacher, config)
    unfinished = _make_missing(images, splits, teacher, out, dict(enumerate(parts, 1)), retrain)
    with atomic_folder(out) as aside:
        for number in range(1, len(parts) + 1):
            shutil.copytree(unfinished / str(number), aside / str(number))
        summary = _summary([read_json(aside / str(number) / SUMMARY) for number in range(1, len(parts) + 1)])
        write_json(aside / SUMMARY, summary)
    shutil.rmtree(unfinished, ignore_errors=True)
    return summary


def ahead(images: str, splits: str | Path, out: str | Path, config: ReferenceConfig) -> int:
    """Retrain while the original is still being trained by the recipe of `pretrain`; return the number of models.

    Of the teacher, retraining needs the architecture alone, and the recipe has that. The models wait next to `out`:
    `run` takes them if the teacher turns out to have this architecture, and checks as always.

    Raises:
        UserError: as `run`.
    """
    parts = {number: part for number, part in enumerate(config.parts(), 1) if not part.models}
    with TemporaryDirectory() as folder:
        saved, teacher = Path(folder) / "saved", Path(folder) / "teacher"
        _of_recipe(config).save(saved)
        load_model(saved, config.model).save(teacher)  # as `snapshot` does: the same files
        _make_missing(images, Path(splits), teacher, Path(out), parts, None)
    return len(parts)


def _make_missing(
    images: str, splits: Path, teacher: Path, out: Path, parts: Mapping[int, ReferenceConfig], retrain: Retrain | None
) -> Path:
    """Make the references that are not there; the folder where all of them are then, by number."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    jobs = [
        (unfinished / str(number), part)
        for number, part in parts.items()
        if not _is_there(number, _key(splits, teacher, part), out, unfinished)
    ]
    num_workers = min(parts[1].num_workers, len(jobs)) if parts else 0
    if num_workers > 1 and retrain is None:
        _side_by_side(images, splits, teacher, jobs, num_workers, unfinished / "workers")
    else:
        for folder, part in jobs:
            _make(images, splits, teacher, folder, part, retrain or retrain_one)
    return unfinished


def _summary(each: Sequence[Facts]) -> Facts:
    """Of all references together: the seconds of all, and of the first what they have in common."""
    if not each:
        return {"kind": "none", "count": 0}
    retrained = [facts for facts in each if facts["kind"] == "retrain"]
    if not retrained:
        return {"kind": "own", "count": len(each)}
    first = retrained[0]
    return {
        "kind": "retrain",
        "count": len(each),
        **{key: first[key] for key in ("num_images", "device", "manifest_sha256", "steps")},
        "resumed_from_step": max(int(facts["resumed_from_step"]) for facts in retrained),
        "seconds": round(sum(float(facts["seconds"]) for facts in retrained), 3),
        "peak_memory_bytes": max(int(facts["peak_memory_bytes"]) for facts in retrained),
    }


# --- what is there already ---


def _key(splits: Path, teacher: Path, part: ReferenceConfig) -> str:
    """A digest of all that decides a reference."""
    own = {f"model {number}": digest_folder(folder) for number, folder in enumerate(part.models)}
    return run_digest("reference", part, **_inputs(splits, teacher), **own)


def _inputs(splits: Path, teacher: Path) -> dict[str, str]:
    settings = sorted(teacher.rglob("*.json"))  # whatever files the family keeps its architecture in
    return {"manifest": digest_file(splits / MANIFEST), "architecture": digest_files(settings, teacher)}


def _is_there(number: int, key: str, out: Path, unfinished: Path) -> bool:
    """Whether the reference is finished, in `unfinished` or, from where it is copied there, in any folder of `out`."""
    folder = unfinished / str(number)
    if _is_finished(folder, key):
        return True
    for earlier in sorted(out.glob("*/")):
        if _is_finished(earlier, key):
            with atomic_folder(folder) as aside:
                shutil.copytree(earlier, aside, dirs_exist_ok=True)
            return True
    return False


def _is_finished(folder: Path, key: str) -> bool:
    path = folder / SUMMARY
    summary = read_json(path) if path.is_file() else {}
    return summary.get("key") == key and summary["model_sha256"] == digest_folder(folder / "model")


# --- making one ---


def _make(images: str, splits: Path, teacher: Path, out: Path, part: ReferenceConfig, retrain: Retrain) -> Facts:
    """Write one reference, whole or not at all."""
    key = _key(splits, teacher, part)
    with atomic_folder(out) as aside:
        if part.models:
            _take(splits, Path(part.models[0]), aside / "made", part)
        else:
            retrain(images, splits, teacher, aside / "made", part)
        for path in (aside / "made").iterdir():
            path.rename(aside / path.name)
        (aside / "made").rmdir()
        shutil.copyfile(splits / MANIFEST, aside / MANIFEST)
        summary: Facts = {**read_json(aside / SUMMARY), "key": key}
        write_json(aside / SUMMARY, summary)
    return summary


def _side_by_side(
    images: str,
    splits: Path,
    teacher: Path,
    jobs: Sequence[tuple[Path, ReferenceConfig]],
    num_workers: int,
    logs: Path,
) -> None:
    shared = {"images": images, "splits": str(splits), "teacher": str(teacher)}
    told = [
        {**shared, "name": f"reference {out.name}", "out": str(out), "config": part.model_dump(mode="json")}
        for out, part in jobs
    ]
    begun = time.monotonic()

    def done(facts: Answer) -> Answer:
        print(f"reference: one more is finished, after {time.monotonic() - begun:.0f} s", file=sys.stderr)
        return facts

    side_by_side(__name__, told, num_workers, logs, done)


def compute(job: Answer) -> Answer:
    """Make one reference in a worker; `job` is one of `_side_by_side`."""
    splits, teacher, out = (Path(job[key]) for key in ("splits", "teacher", "out"))
    return _make(job["images"], splits, teacher, out, ReferenceConfig(**job["config"]), retrain_one)


def retrain_one(
    images: str,
    splits: str | Path,
    teacher: str | Path,
    out: str | Path,
    config: ReferenceConfig,
    *,
    processes: Processes | None = None,
) -> Facts:
    """Retrain the teacher's architecture on every training image that was never to be forgotten.

    `config` is one of `ReferenceConfig.parts`. `processes`: who shares the run, this process among them; None = start
    as many as the config says.

    Raises:
        UserError: wrong settings, unreadable images, or a loss that is not finite.
    """
    begun = time.monotonic()
    splits, teacher = Path(splits), Path(teacher)
    seed = config.seed + config.seed_offset
    device = pick_device(config.device)
    operator = make_operator(config.operator, config.keep_fraction, config.operator_patch_size)
    model = load_architecture(teacher, config.model, generator=generator_for(seed, "initial weights"))
    if processes is None and config.num_processes > 1:
        if len(training_phases(model)) == 1:
            return launch("reference", images, splits, teacher, out, config, config.num_processes)
        print("reference: runs in one process, because the codebook needs whole batches", file=sys.stderr)
    if processes and len(training_phases(model)) > 1:  # on the nodes of a TrainJob: one of them does it
        if not processes.is_first:
            return {}
        processes = ALONE
    rows = read_manifest(splits / MANIFEST, images).of(*TRAINED_ON)
    if not len(rows):
        raise UserError(f"{splits / MANIFEST}: no image is left to retrain on; correct the forget request")
    pixels_BCHW = load_pixels(images, rows, **wanted_by(model), description="reading images")
    sampler = Sampler({"train": single_pool(pixels_BCHW.to(device), config.batch_size)}, operator, seed)
    inputs = _inputs(splits, teacher)
    training = Training(
        stage="reference",
        inputs=inputs,
        student=model.to(device),
        objective=OwnLoss(derive_seed(seed, "loss"), training_phases(model)),
        batches=sampler,
        average_decay=config.average_decay,
        processes=processes or ALONE,
    )

    def facts(_: Path) -> Facts:
        return {
            "kind": "retrain",
            "num_images": len(rows),
            "device": device.type,
            "seed_offset": config.seed_offset,
            "manifest_sha256": inputs["manifest"],
            **training_facts(model),
        }

    return train_and_write(training, config, Output(folder=out, facts=facts, begun=begun))


def _take(splits: Path, source: Path, out: Path, config: ReferenceConfig) -> None:
    """Copy a model of the user's as a whole model of a known family, in safetensors only."""
    load_model(source, config.model).save(out / "model")
    write_json(
        out / SUMMARY,
        {
            "kind": "own",
            "source": str(source),
            "source_sha256": digest_folder(source),
            "model_sha256": digest_folder(out / "model"),
            "manifest_sha256": digest_file(splits / MANIFEST),
        },
    )


# --- what is refused before anything is trained ---


def _check(splits: Path, teacher: Path, config: ReferenceConfig) -> None:
    """The recipe fits the teacher, and the user's models saw none of the forget images."""
    manifest = read_manifest(splits / MANIFEST)
    model = load_architecture(teacher, config.model, generator=generator_for(config.seed, "initial weights"))
    if config.count and (faults := [*_misfits(model, teacher, config), *_far(manifest, teacher, config)]):
        raise UserError(
            f"the recipe in section pretrain is not the teacher's: {'; '.join(faults)}; write the recipe that the "
            "original was trained with, or set reference.count to 0"
        )
    for source in config.models:
        _check_own(Path(source), manifest, model, config)


def _misfits(model: Any, teacher: Path, config: ReferenceConfig) -> list[str]:
    """What the recipe says of the model, where the teacher is another."""
    told = {
        "family": (config.family, _family(model)),
        "image_size": (f"{config.image_size}x{config.image_size}", "x".join(map(str, model.image_size))),
        "num_channels": (config.num_channels, model.num_channels),
    }
    found = [f"pretrain.{key} is {ours}, the teacher's {its}" for key, (ours, its) in told.items() if ours != its]
    held = [content for path in sorted(teacher.rglob("*.json")) if isinstance(content := read_json(path), dict)]
    for key, ours in config.architecture.items():  # several files may have the key, each of another part
        its = [content[key] for content in held if content.get(key) is not None]
        if its and ours not in its:
            found.append(f"pretrain.architecture.{key} is {ours}, the teacher's {its[0]}")
    if found or config.family == "latent_diffusion":  # which cannot be made from a recipe
        return found
    made = _of_recipe(config)
    shapes = [{name: tuple(one.shape) for name, one in each.state_dict().items()} for each in (made, model)]
    other = sorted(name for name in {*shapes[0], *shapes[1]} if shapes[0].get(name) != shapes[1].get(name))
    return [
        "pretrain.architecture: {} is {}, the teacher's {}".format(name, *(each.get(name) for each in shapes))
        for name in other[:1]
    ]


def _of_recipe(config: ReferenceConfig) -> Any:
    """The architecture of section pretrain, with random weights."""
    return family_named(config.family, config.model).create(
        config.architecture,
        image_size=config.image_size,
        num_channels=config.num_channels,
        generator=generator_for(config.seed, "initial weights"),
    )


def _family(model: Any) -> str:
    return "own" if ":" in model.family else str(model.family)


def _far(manifest: SplitManifest, teacher: Path, config: ReferenceConfig) -> list[str]:
    """Images and steps that are far from what is recorded of the original; nothing where nothing is recorded."""
    recorded = recorded_original(teacher)
    if not recorded:
        return []
    num_images = int((manifest.rows["part"] == "train").sum())
    told = {
        "the split has {} training images": (num_images, float(recorded[ORIGINAL_IMAGES])),
        "pretrain.num_steps is {}": (config.num_steps, float(recorded[ORIGINAL_STEPS])),
    }
    return [
        f"{words.format(ours)}, the original had {its:g}"
        for words, (ours, its) in told.items()
        if not its / FAR <= ours <= its * FAR
    ]


def _check_own(source: Path, manifest: SplitManifest, teacher: Any, config: ReferenceConfig) -> None:
    """A model of the user's is like the teacher, and its record says that it saw no forget image."""
    where = f"reference.models: {source}"
    model = load_model(source, config.model)
    for key in ("family", "image_size", "num_channels"):
        if getattr(model, key) != getattr(teacher, key):
            raise UserError(
                f"{where} has {key}={getattr(model, key)}, the teacher {getattr(teacher, key)}; give a model that was "
                "trained as the teacher's original was"
            )
    summary = read_json(source.parent / SUMMARY) if (source.parent / SUMMARY).is_file() else {}
    if "teacher_sha256" in summary:
        raise UserError(f"{where} was unlearned, so it saw the forget images; give a model that was trained without")
    path = source.parent / MANIFEST
    if not path.is_file():
        raise UserError(
            f"{where}: nothing is recorded of the images that it was trained on; put the {MANIFEST} of the split that "
            f"it was trained with next to it ({path}), as `i2i-unlearn reference` does"
        )
    recorded = read_manifest(path)
    same_images = recorded.image_digest == manifest.image_digest
    by = ["shard", "row"] if same_images else ["hmac_id"]
    if not same_images and not set(recorded.rows["hmac_id"]) & set(manifest.rows["hmac_id"]):
        raise UserError(
            f"{where}: {path} names none of these images; it is of other data or was made with another key, so "
            "whether the model saw forget images cannot be told. Give a model that was trained on these images"
        )
    seen = recorded.of(*TRAINED_ON)[by].merge(manifest.of(FORGET, DROPPED)[by])
    if len(seen):
        raise UserError(
            f"{where} was trained on {len(seen)} of the images to forget ({path}); give a model that was trained "
            "without them"
        )


if __name__ == "__main__":
    serve(compute)
