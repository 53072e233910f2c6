"""Stage `reference`: retrain without the forget set, with the recipe of `pretrain` and other initial weights.

The retrained model is the gold standard that unlearning is measured against. It is costly and optional.
"""

import sys
import time
from pathlib import Path

from i2i_unlearn.config.sections import ReferenceConfig
from i2i_unlearn.data.images.reading import load_pixels
from i2i_unlearn.data.split.manifest import PROXY_RETAIN, RETAIN, UNUSED, read_manifest
from i2i_unlearn.method.objectives.own_loss import OwnLoss
from i2i_unlearn.method.processes import ALONE, Processes
from i2i_unlearn.models import load_architecture
from i2i_unlearn.models.base import training_facts, training_phases
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.randomness import derive_seed, generator_for
from i2i_unlearn.support.device import pick_device
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_folder, digest_file, digest_files, write_json
from i2i_unlearn.training.launch import launch
from i2i_unlearn.training.run import Facts, Output, Training, train_and_write
from i2i_unlearn.training.sampling import Sampler, single_pool


def run(
    images: str,
    splits: str | Path,
    teacher: str | Path,
    out: str | Path,
    config: ReferenceConfig,
    *,
    processes: Processes | None = None,
) -> Facts:
    """Retrain the teacher's architecture on every training image that was never to be forgotten.

    Of the teacher only its *.json files are read. `kind: none` writes summary.json alone. `processes`: who shares the
    run, this process among them; None = start as many as the config says.

    Raises:
        UserError: wrong settings, unreadable images, or a loss that is not finite.
    """
    begun = time.monotonic()
    if config.kind == "none":
        with atomic_folder(out) as aside:
            summary: Facts = {"kind": "none"}
            write_json(aside / "summary.json", summary)
        return summary
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
    manifest_path = Path(splits) / "manifest.parquet"
    # Images that a cap left unused were trained on by the original, so a retrained model has them too.
    rows = read_manifest(manifest_path, images).of(RETAIN, PROXY_RETAIN, UNUSED)
    if not len(rows):
        raise UserError(f"{manifest_path}: no image is left to retrain on; correct the forget request")
    pixels_BCHW = load_pixels(
        images, rows, image_size=model.image_size, num_channels=model.num_channels, description="reading images"
    )
    sampler = Sampler({"train": single_pool(pixels_BCHW.to(device), config.batch_size)}, operator, seed)
    manifest_sha256 = digest_file(manifest_path)
    settings = sorted(Path(teacher).rglob("*.json"))  # whatever files the family keeps its architecture in
    training = Training(
        stage="reference",
        inputs={"manifest": manifest_sha256, "architecture": digest_files(settings, Path(teacher))},
        student=model.to(device),
        objective=OwnLoss(derive_seed(seed, "loss"), training_phases(model)),
        batches=sampler,
        average_decay=config.average_decay,
        processes=processes or ALONE,
    )

    def facts(_: Path) -> Facts:
        return {
            "kind": config.kind,
            "num_images": len(rows),
            "device": device.type,
            "manifest_sha256": manifest_sha256,
            **training_facts(model),
        }

    return train_and_write(training, config, Output(folder=out, facts=facts, begun=begun))
