"""Writes the review page of forget images (`report/review.py`). No step of the pipeline: somebody asks for it."""

import datetime
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from i2i_unlearn.config.sections import EvaluateConfig
from i2i_unlearn.evaluation.findings import FORGET_SETS
from i2i_unlearn.evaluation.inputs import ChosenSet, Inputs, batches, read_inputs
from i2i_unlearn.evaluation.metrics.hole_psnr import hole_error
from i2i_unlearn.evaluation.metrics.observe import Seen
from i2i_unlearn.evaluation.pictures import PictureCollector
from i2i_unlearn.evaluation.shown import PictureGrid
from i2i_unlearn.models.randomness import derive_seed, generator_for
from i2i_unlearn.report.review import write_review
from i2i_unlearn.report.words import operator_sentence
from i2i_unlearn.support.device import num_threads, pick_device
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.progress import Advance, progress


def run(
    images: str,
    splits: str | Path,
    teacher: str | Path,
    unlearned: str | Path,
    reference: str | Path,
    out: str | Path,
    config: EvaluateConfig,
    expires: datetime.date,
) -> dict[str, float | str]:
    """Complete the forget images once more and show them on a page in the folder `out`; return what was written.

    The images that the report would show, if it might: the same random ones and the worst ones.

    Args:
        images: URI of the image shards.
        splits: folder that holds manifest.parquet.
        teacher: model directory.
        unlearned: output folder of the stage `unlearn`.
        reference: output folder of the stage `reference`; empty where there is none.
        out: folder for review pages; it must not be one that is kept.
        config: section `evaluate`, with the contents of the policy files.
        expires: last day on which the page shows them.

    Raises:
        UserError: a part is missing or damaged, or `out` is or lies in a folder of a stage.
    """
    _check_not_kept(Path(out), [Path(folder) for folder in (splits, teacher, unlearned, reference) if str(folder)])
    device = pick_device(config.device)
    inputs = read_inputs(images, Path(splits), Path(teacher), Path(unlearned), "", reference, config)
    inputs.freeze(device)
    grids: list[PictureGrid] = []
    chosen = {name: inputs.sets[name] for name in FORGET_SETS if len(inputs.sets[name].rows)}
    with num_threads(config.num_threads), progress("review", sum(len(one.rows) for one in chosen.values())) as advance:
        for name, one in chosen.items():
            grids += _grids(name, one, images, inputs, config, device, advance)
    operator = operator_sentence(config.operator, config.keep_fraction)
    path = write_review(grids, inputs.manifest.requests, operator, expires, Path(out))
    return {"page": str(path), "num_sets": len(chosen), "expires": expires.isoformat()}


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
    collector = PictureCollector(set_name, len(chosen.rows), rng)
    drawn = {name: generator_for(config.seed, "evaluate", "complete", set_name) for name in inputs.models}
    for images_BCHW, visible_BHW in batches(inputs, images, chosen, config):
        outputs = {
            name: one.complete(images_BCHW.to(device), visible_BHW.to(device), generator=drawn[name]).cpu()
            for name, one in inputs.models.items()
        }
        errors = {name: hole_error(output, images_BCHW, visible_BHW) for name, output in outputs.items()}
        seen = Seen(images_BCHW=images_BCHW, visible_BHW=visible_BHW, completed=outputs, hole_error=errors)
        collector.see(seen)
        advance(len(seen), set_name)
    return collector.grids()
