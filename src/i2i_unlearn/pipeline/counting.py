"""Operations and memory of one image in training, counted while a model passes two of them; nothing is timed."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from i2i_unlearn.models.operators import Operator
from i2i_unlearn.pipeline.cost import Counts

NUM = 2
"""Images passed. One alone would take other paths through some layers."""


def count(model: Any, operator: Operator, *, whole: bool) -> Counts:
    """Count an encoder pass (as unlearning trains it), or the family's whole training loss.

    `model` is an ImageToImage; it keeps its weights, and its gradients are cleared.
    """
    generator = torch.Generator().manual_seed(0)
    height, width = model.image_size
    images_BCHW = torch.rand(NUM, model.num_channels, height, width, generator=generator) * 2 - 1
    visible_BHW = operator.draw(NUM, height, width, generator)
    trained = [one for one in model.parameters() if one.requires_grad]
    if not whole:
        trained = [parameter for _, parameter in model.encoder_parameters()]

    def loss() -> Tensor:
        if whole:
            total: Tensor = model.training_loss(images_BCHW, visible_BHW, generator=generator).mean()
            return total
        embedding = model.encode(images_BCHW, visible_BHW, model.draw(NUM, generator))
        return torch.stack([one.square().mean() for one in embedding.maps]).sum()

    ours = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in ours:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as forward:  # with gradients: its book of modules does not work without
        loss()
    with (
        FlopCounterMode(display=False) as both,
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        loss().backward()
    for parameter in model.parameters():
        parameter.grad = None
    return Counts(
        image_size=(height, width),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        num_trained=sum(parameter.numel() for parameter in trained),
        forward_flops=forward.get_total_flops() / NUM,
        training_flops=both.get_total_flops() / NUM,
        kept_bytes=sum(kept.values()) / NUM,
    )
