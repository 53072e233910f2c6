"""Stage `snapshot`: freeze the model that is to be changed, with its digest. The copy is the teacher of the run."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.config.sections import SnapshotConfig
from i2i_unlearn.evaluation.findings import ORIGINAL
from i2i_unlearn.evaluation.original import TABLE, UNKNOWN, OriginalFacts
from i2i_unlearn.evaluation.original_table import read_table
from i2i_unlearn.models import FAMILIES, load_model
from i2i_unlearn.models.laws import check_laws
from i2i_unlearn.models.published import convert_checkpoint, is_checkpoint
from i2i_unlearn.models.versions import opened_by
from i2i_unlearn.models.whole import notes_on
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_folder, digest_file, digest_folder, write_json
from i2i_unlearn.training.original import original_in_tags, recorded_original

NUM_TRIED = 4
"""Images that the copy must complete."""


def run(out: str | Path, config: SnapshotConfig) -> dict[str, float | str]:
    """Copy the model that `config.source` names to `out`/model; return its digest.

    The source is a model directory, a registry version, or a file in a published format (models/published/). The
    model is loaded and saved again, so that later steps get a whole model of a known family, in safetensors only; what
    was written is opened and completes four images before it counts.
    `out`/original tells what the original of this model is, and holds it where it is another registered version, or the
    table of its answers where its weights are destroyed.

    Raises:
        UserError: the source is missing, damaged, of no known family or format, an address, an alias, or its digest is
            not the expected one.
    """
    with atomic_folder(out) as aside:
        source, recorded = _local(config.source, aside / "fetched")
        model, found, notes = (_from_file if is_checkpoint(source) else _from_folder)(source, config)
        if config.model:
            check_laws(model)
        model.save(aside / "model")
        _check_written(model, aside / "model", config)
        summary: dict[str, float | str] = {
            "source": config.source,
            "source_sha256": found,
            "model_sha256": digest_folder(aside / "model"),
            "family": model.family,
            **opened_by(model.family),
            **recorded,
        }
        if notes:
            summary["note"] = "; ".join(notes)
        write_json(aside / "summary.json", summary)
        _original(config.source, str(summary["model_sha256"]), aside / "original").write(aside / "original")
        shutil.rmtree(aside / "fetched", ignore_errors=True)
    return summary


def _from_folder(source: str, config: SnapshotConfig) -> tuple[Any, str, list[str]]:
    """A model directory: the model, its digest, and notes on it."""
    if config.checkpoint:
        raise UserError(
            f"snapshot.checkpoint is for a published checkpoint, and {source} is a folder; make it empty: {{}}"
        )
    model = load_model(source, config.model)
    found = digest_folder(source)
    _check_digest(config, found)
    return model, found, [] if config.model == model.family else notes_on(source)


def _from_file(source: str, config: SnapshotConfig) -> tuple[Any, str, list[str]]:
    """A published checkpoint: the model, the file's digest, and notes on it. The digest is checked first."""
    if not Path(source).is_file():
        raise UserError(f"{source}: no such file; correct snapshot.source")
    found = digest_file(source)
    _check_digest(config, found)
    converted = convert_checkpoint(source, config.checkpoint)
    return converted.model, found, converted.notes


def _check_written(model: Any, folder: Path, config: SnapshotConfig) -> None:
    """The next step must open what was written, and it must complete as the source does: four images of noise.

    Raises:
        UserError: it cannot be opened, or completes otherwise.
    """
    written = load_model(folder, config.model)
    one, other = _completed(model), _completed(written)
    if not all(part.isfinite().all() for part in one):
        raise UserError(f"{config.source}: its completions are not finite numbers; give the model as it was trained")
    if not all(a.equal(b) for a, b in zip(one, other, strict=True)):
        raise UserError(
            f"{config.source}: the copy completes four images otherwise than the source does, so it is not the same "
            "model; please report this with the model's config.json"
        )


@torch.no_grad()
def _completed(model: Any) -> tuple[Tensor, ...]:
    """Four images, the right half hidden, completed; or encoded where there is no decoder."""
    generator, (height, width) = torch.Generator().manual_seed(0), model.image_size
    images_BCHW = torch.rand(NUM_TRIED, model.num_channels, height, width, generator=generator) * 2 - 1
    visible_BHW = torch.ones(NUM_TRIED, height, width, dtype=torch.bool)
    visible_BHW[:, :, width // 2 :] = False
    if not getattr(model, "has_decoder", True):
        maps: tuple[Tensor, ...] = model.encode(images_BCHW, visible_BHW).maps
        return maps
    settings = getattr(model, "settings", None)
    few = model.family in FAMILIES and settings is not None
    try:
        if few:  # a thousand steps of a large U-Net take hours on a CPU, and one uses all of its weights
            model.settings = replace(settings, sampling_steps=1)  # type: ignore[type-var]
        return (model.complete(images_BCHW, visible_BHW, generator=generator),)
    finally:
        if few:
            model.settings = settings


def _check_digest(config: SnapshotConfig, found: str) -> None:
    if config.sha256 and config.sha256 != found:
        raise UserError(
            f"snapshot.sha256={config.sha256}, but {config.source} has {found}; fetch the model again or correct the "
            "digest"
        )


def _original(source: str, teacher_sha256: str, folder: Path) -> OriginalFacts:
    """The original of the teacher; its model directory is in `folder` where it is another registered version."""
    facts = OriginalFacts(
        source=source, model_sha256=teacher_sha256, teacher_source=source, teacher_sha256=teacher_sha256
    )
    if not source.startswith("models:"):
        return facts
    from i2i_unlearn.registry.lineage import fetch_root  # imports mlflow
    from i2i_unlearn.registry.original_table import fetch_table

    root, why = fetch_root(source, folder / "model")
    kept = fetch_table(root, folder) if root and why else None
    if kept:
        sha256 = read_table(kept).facts.model_sha256
        return replace(facts, model=TABLE, source=root, model_sha256=sha256, why="")
    if why:
        return replace(facts, model=UNKNOWN, source=root, model_sha256="", why=why)
    if root == source:
        return facts
    return replace(facts, model=ORIGINAL, source=root, model_sha256=digest_folder(folder / "model"))


def _local(source: str, fetched: Path) -> tuple[str, dict[str, float | str]]:
    """The model directory that `source` means, copied to `fetched` from the registry, and how its original was made."""
    if source.startswith("models:"):
        from i2i_unlearn.registry.tracking import fetch_version  # imports mlflow: only where the registry is asked

        return str(fetched), original_in_tags(fetch_version(source, fetched))
    if "://" in source:
        raise UserError(
            f"snapshot.source={source}: an address cannot be read; copy the model into a folder and name that, "
            "or register it and write models:/NAME/VERSION"
        )
    return source, recorded_original(source)
