"""Writes the review page of forget images (`report/review.py`). No step of the pipeline: somebody asks for it."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i_unlearn.config.sections import EvaluateConfig
from i2i_unlearn.evaluation.audit_inputs import read_images
from i2i_unlearn.evaluation.findings import FORGET_SETS, MODELS, UNLEARNED, read_findings
from i2i_unlearn.evaluation.inputs import ChosenSet, Inputs, References, batches, read_inputs
from i2i_unlearn.evaluation.metrics.hole_psnr import hole_error
from i2i_unlearn.evaluation.metrics.observe import Seen
from i2i_unlearn.evaluation.original import find_original
from i2i_unlearn.evaluation.pictures import PictureCollector, exposed_grid
from i2i_unlearn.evaluation.shown import PictureGrid
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import derive_seed, generator_for
from i2i_unlearn.report.review import write_review
from i2i_unlearn.report.words import in_order, operator_sentence
from i2i_unlearn.support.device import num_threads, pick_device
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.progress import Advance, progress

_EXPOSED = {
    "calibrated": "The forget images that the membership audit finds most easily in the unlearned model, by calibrated "
    "loss.",
    "loss": "The forget images with the lowest loss under the unlearned model, which an attacker without retrained "
    "models names first, images that are easy for any model among them.",
}


def run(
    images: str,
    splits: str | Path,
    teacher: str | Path,
    unlearned: str | Path,
    reference: References,
    out: str | Path,
    config: EvaluateConfig,
    expires: datetime.date,
    *,
    original: str | Path = "",
    evaluation: str | Path = "",
) -> dict[str, float | str]:
    """Complete the forget images once more and show them on a page in the folder `out`; return what was written.

    The images that the report would show, if it might: the same random ones and the worst ones. And those that audit
    membership found the most exposed, where an evaluation of this model has them.

    Args:
        images: URI of the image shards.
        splits: folder that holds manifest.parquet.
        teacher: model directory.
        unlearned: output folder of the stage `unlearn`.
        reference: output folders of the stage `reference`, one or several; empty where there is none.
        out: folder for review pages; it must not be one that is kept.
        config: section `evaluate`, with the contents of the policy files.
        expires: last day on which the page shows them.
        original: model directory of the model before any request; empty = as `evaluate` finds it.
        evaluation: output folder of the stage `evaluate`; without metrics.json, no image is the most exposed.

    Raises:
        UserError: a part is missing or damaged, `out` is or lies in a folder of a stage, or the evaluation is of
            another model or split.
    """
    references = [reference] if isinstance(reference, str | Path) else list(reference)
    stages = (splits, teacher, unlearned, evaluation, *references)
    _check_not_kept(Path(out), [Path(folder) for folder in stages if str(folder)])
    device = pick_device(config.device)
    original, _ = find_original(Path(teacher), original)
    inputs = read_inputs(images, Path(splits), Path(teacher), Path(unlearned), original, references, config)
    exposed = _exposed(Path(evaluation), inputs) if str(evaluation) else {}
    inputs.freeze(device)
    grids: list[PictureGrid] = []
    chosen = {name: inputs.sets[name] for name in FORGET_SETS if len(inputs.sets[name].rows)}
    with num_threads(config.num_threads), progress("review", sum(len(one.rows) for one in chosen.values())) as advance:
        for name, one in chosen.items():
            grids += _grids(name, one, images, inputs, config, device, advance)
        if exposed:
            grids.insert(0, _exposed_grid(exposed, images, inputs, config, device))
    operator = operator_sentence(config.operator, config.keep_fraction)
    path = write_review(grids, inputs.manifest.requests, operator, expires, Path(out))
    return {
        "page": str(path),
        "num_sets": len(chosen),
        "num_exposed": len(exposed.get("codes", ())),
        "expires": expires.isoformat(),
    }


def _exposed(evaluation: Path, inputs: Inputs) -> dict[str, Any]:
    """`worst_images` of audit membership; empty where it was not made."""
    path = evaluation / "metrics.json"
    if not path.is_file():
        return {}
    metrics = read_findings(path)
    given = {UNLEARNED: inputs.digests[UNLEARNED], "the split": inputs.manifest_sha256}
    measured = {UNLEARNED: metrics["models"][UNLEARNED], "the split": metrics["manifest_sha256"]}
    other = [name for name, digest in given.items() if measured[name] != digest]
    if other:
        raise UserError(
            f"{path}: made with another version of {' and of '.join(other)}; run `i2i-unlearn evaluate` again, or leave"
            " the evaluation out"
        )
    found: dict[str, Any] = metrics["audits"].get("membership", {}).get("facts", {}).get("worst_images", {})
    return found


@torch.inference_mode()
def _exposed_grid(
    exposed: dict[str, Any], images: str, inputs: Inputs, config: EvaluateConfig, device: torch.device
) -> PictureGrid:
    """The most exposed images first, with their codes."""
    forget = inputs.manifest.of("forget").set_index("hmac_id", drop=False)
    codes = [code for code in exposed["codes"] if code in forget.index]
    shown = read_images(forget.loc[codes], images, inputs.operator, config.seed, inputs.models[UNLEARNED])
    drawn = {name: generator_for(config.seed, "review", "exposed") for name in inputs.models}
    seen = _complete(inputs, to_float(shown.images_NCHW), shown.visible_NHW, drawn, device)
    return exposed_grid("forget", seen, codes, _EXPOSED[exposed["by"]], in_order(inputs.models, MODELS))


def _check_not_kept(out: Path, kept: Sequence[Path]) -> None:
    """Stages' outputs are versioned, registered and copied."""
    where = out.resolve()
    for folder in [*(path.resolve() for path in kept), *(path for path in (where, *where.parents) if _is_kept(path))]:
        if folder == where or folder in where.parents:
            raise UserError(f"{out}: lies in {folder}, which is kept; give review pages a folder of their own")


def _is_kept(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("summary.json", "metrics.json", "manifest.parquet"))


@torch.inference_mode()
def _grids(
    set_name: str,
    chosen: ChosenSet,
    images: str,
    inputs: Inputs,
    config: EvaluateConfig,
    device: torch.device,
    advance: Advance,
) -> list[PictureGrid]:
    """Pictures of one set, chosen as `evaluate` chooses them."""
    rng = np.random.default_rng(derive_seed(config.seed, "evaluate", "pictures", set_name))
    collector = PictureCollector(set_name, len(chosen.rows), rng, models=in_order(inputs.models, MODELS))
    drawn = {name: generator_for(config.seed, "evaluate", "complete", set_name) for name in inputs.models}
    for images_BCHW, visible_BHW in batches(inputs.models["teacher"], inputs.operator, images, chosen, config):
        seen = _complete(inputs, images_BCHW, visible_BHW, drawn, device)
        collector.see(seen)
        advance(len(seen), set_name)
    return collector.grids()


def _complete(
    inputs: Inputs,
    images_BCHW: Tensor,
    visible_BHW: Tensor,
    drawn: Mapping[str, torch.Generator],
    device: torch.device,
) -> Seen:
    """The images as every model completes them."""
    outputs = {
        name: one.complete(images_BCHW.to(device), visible_BHW.to(device), generator=drawn[name]).cpu()
        for name, one in inputs.models.items()
    }
    errors = {name: hole_error(output, images_BCHW, visible_BHW) for name, output in outputs.items()}
    return Seen(images_BCHW=images_BCHW, visible_BHW=visible_BHW, completed=outputs, hole_error=errors)
