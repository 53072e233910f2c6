"""The training loss of a diffusion model at each time of its schedule: where along the way it forgot.

Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020, arXiv:2006.11239, eq. 14, for one t instead
of the mean over all. At late times the picture is laid out, at early ones its texture is painted.
"""

from collections.abc import Mapping

import torch

from i2i_unlearn.evaluation.audits.base import AuditInputs
from i2i_unlearn.models.base import LossAtTime

NUM_TIMES = 10
MOST_IMAGES = 64
"""Per set: each image takes one pass per time and model, so that all of this costs a few completions."""

Curves = Mapping[str, list[float]]


@torch.inference_mode()
def time_losses(inputs: AuditInputs) -> dict[str, dict[str, Curves]]:
    """By model and set: share (of the schedule, the middle of each tenth) and loss (mean over images).

    The same images, masks and noise for every model. Empty where a model's loss does not depend on a time, and for
    sets without images.
    """
    timed = {name: model for name, model in inputs.models.items() if isinstance(model, LossAtTime)}
    if len(timed) < len(inputs.models):
        return {}
    shares = [(at + 0.5) / NUM_TIMES for at in range(NUM_TIMES)]
    found: dict[str, dict[str, Curves]] = {}
    for name, model in timed.items():
        found[name] = {
            set_name: {"share": shares, "loss": [_loss(model, set_name, share, inputs) for share in shares]}
            for set_name, images in inputs.sets.items()
            if len(images)
        }
    return found if any(found.values()) else {}


def _loss(model: LossAtTime, set_name: str, share: float, inputs: AuditInputs) -> float:
    generator = inputs.generator("time loss", set_name)
    images = inputs.sets[set_name]
    order = inputs.rng("time loss", "images", set_name).permutation(len(images))[:MOST_IMAGES]  # not a prefix: sorted
    losses = [
        model.loss_at(images_BCHW, visible_BHW, share, generator=generator)
        for images_BCHW, visible_BHW in images[torch.from_numpy(order)].batches(inputs.batch_size, inputs.device)
    ]
    return float(torch.cat(losses).double().mean())
