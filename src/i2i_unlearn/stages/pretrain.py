"""Stage `pretrain`: train a small original model from scratch where no model is given, as in the demo.

It depends on the images alone: train and holdout are decided before any request, so a new request never retrains it.
"""

import time
from pathlib import Path

from i2i_unlearn.config.sections import PretrainConfig
from i2i_unlearn.data.images.canaries import part_with_canaries
from i2i_unlearn.data.images.reading import load_pixels, read_index, wanted_by
from i2i_unlearn.data.split.manifest import digest_images, fingerprints
from i2i_unlearn.method.objectives.own_loss import OwnLoss
from i2i_unlearn.models import family_named
from i2i_unlearn.models.base import training_facts, training_phases
from i2i_unlearn.models.laws import check_laws
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.support.device import pick_device
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.training.run import Facts, Output, Training, train_and_write
from i2i_unlearn.training.sampling import Sampler, single_pool


def run(images: str, out: str | Path, config: PretrainConfig) -> Facts:
    """Train on all images of the part `train`; write model/, steps.jsonl and summary.json under `out`.

    Raises:
        UserError: wrong settings, unreadable images, or a loss that is not finite.
    """
    begun = time.monotonic()
    device = pick_device(config.device)
    operator = make_operator(config.operator, config.keep_fraction, config.operator_patch_size)
    model = family_named(config.family, config.model).create(
        config.architecture,
        image_size=config.image_size,
        num_channels=config.num_channels,
        generator=generator_for(config.seed, "initial weights"),
    )
    if config.model:
        check_laws(model)
    index = read_index(images)
    part = part_with_canaries(
        index, canaries=config.canaries, holdout_fraction=config.holdout_fraction, seed=config.seed
    )
    rows = index[part == "train"].reset_index(drop=True)
    if not len(rows):
        raise UserError(
            f"{images}: none of its {len(index)} images is left to train on; lower holdout_fraction or add images"
        )
    pixels_BCHW = load_pixels(images, rows, **wanted_by(model), description="reading images")
    sampler = Sampler({"train": single_pool(pixels_BCHW.to(device), config.batch_size)}, operator, config.seed)
    training = Training(
        stage="pretrain",
        inputs={"images": digest_images(fingerprints(index))},
        student=model.to(device),
        objective=OwnLoss(config.seed, training_phases(model)),
        batches=sampler,
        average_decay=config.average_decay,
    )

    def facts(_: Path) -> Facts:
        return {"num_images": len(rows), "device": device.type, **training_facts(model)}

    return train_and_write(training, config, Output(folder=out, facts=facts, begun=begun))
