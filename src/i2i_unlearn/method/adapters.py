"""Only low-rank adapters of the encoder are trained; at the end they are merged into its weights.

For a quick quarantine with less memory and small checkpoints. After the idea of Fast-NTK (Li, Hsu, Chen, Marculescu,
arXiv:2312.14923), which unlearns classifiers with few parameters; adapters are LoRA (Hu et al., arXiv:2106.09685) of
the library peft:

    W' = W + alpha / rank * B A        A random, B zero at the start, so that W' = W

The result is an ordinary model. It hides the data and does not erase it: `quarantine` says why.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from i2i_unlearn.models.randomness import derive_seed
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

LORA: Final = "lora"
"""The value of unlearn.scope that trains adapters."""


@dataclass(frozen=True)
class Narrowed:
    """A student of which only some weights train."""

    changing: frozenset[str]
    """Names of the tensors that change, as in the `state_dict` of the finished model."""
    finish: Callable[[], None]
    """Make an ordinary model of the trained student, in place."""


def narrow(student: Any, *, rank: int, alpha: int, seed: int) -> Narrowed:
    """Put adapters into the encoder and leave only them to be trained.

    Args:
        student: on the CPU; changed in place.
        rank: of each adapter.
        alpha: of the adapters' scale, alpha / rank.
        seed: of the adapters' first weights.

    Raises:
        UserError: the encoder has no layer that takes an adapter, or the library peft is missing.
    """
    ensure_torchvision()  # before peft, which imports it by way of transformers
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError:
        raise UserError("unlearn.scope=lora needs the package peft, which is not installed; install it") from None
    places = _adaptable(student)
    if not places:
        raise UserError("unlearn.scope=lora: the model's encoder calls no linear or convolution layer; choose auto")
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules="|".join(map(re.escape, places))
    )
    with torch.random.fork_rng(devices=[]):  # the library draws from the global stream
        torch.manual_seed(derive_seed(seed, "adapters"))
        tuner = LoraModel(student, config, "default")
    for name, parameter in student.encoder_parameters():
        parameter.requires_grad_(".lora_" in name)

    def finish() -> None:
        tuner.merge_and_unload()

    return Narrowed(frozenset(f"{place}.weight" for place in places), finish)


def quarantine(scope: Any) -> str | None:
    """What a model unlearned with adapters does not show; None for every scope that trains whole parts of the model."""
    if scope != LORA:
        return None
    return (
        "that the change is permanent: it is a quarantine by low-rank adapters, merged into the encoder. This hides "
        "the data, it does not erase it: anyone with the base weights and the adapters can restore the original by "
        "subtraction"
    )


def _adaptable(student: Any) -> list[str]:
    """Names of the layers that E calls and that train; where E only reads the weights, an adapter has no effect."""
    encoder = {name for name, parameter in student.encoder_parameters() if parameter.requires_grad}
    layers = [
        (name, layer)
        for name, layer in student.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and f"{name}.weight" in encoder and getattr(layer, "groups", 1) == 1
    ]
    called: set[str] = set()
    hooks = [layer.register_forward_hook(lambda *_, place=name: called.add(place)) for name, layer in layers]
    height, width = student.image_size
    visible_1HW = torch.ones(1, height, width, dtype=torch.bool)
    visible_1HW[:, :, width // 2 :] = False
    with torch.no_grad():
        student.encode(torch.zeros(1, student.num_channels, height, width), visible_1HW)
    for hook in hooks:
        hook.remove()
    return [name for name, _ in layers if name in called]
