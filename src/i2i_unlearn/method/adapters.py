"""Few weights of the encoder are trained: its normalisation layers, or low-rank adapters that are merged at the end.

For a quick quarantine: less memory and small checkpoints. After the idea of Fast-NTK (Li, Hsu, Chen, Marculescu,
arXiv:2312.14923), which unlearns classifiers by few parameters; adapters are LoRA (Hu et al., arXiv:2106.09685) of the
library peft:

    W' = W + alpha / rank * B A        A random, B zero at the start, so that W' = W

What comes out is an ordinary model. It is no erasure for good: quarantine.py says why.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from i2i_unlearn.models.randomness import derive_seed
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


@dataclass(frozen=True)
class Narrowed:
    """A student of which only some weights train."""

    changing: frozenset[str]
    """Names of the tensors that change, as in the `state_dict` of the finished model."""
    finish: Callable[[], None]
    """Make an ordinary model of the trained student, in place."""


def narrow(student: Any, scope: str, *, rank: int, alpha: int, seed: int) -> Narrowed:
    """Leave only the weights of `scope` to be trained; the rest of the encoder stops asking for gradients.

    Args:
        student: on the CPU; adapters are put into it in place.
        scope: norm | lora.
        rank: of each adapter.
        alpha: of the adapters' scale, alpha / rank.
        seed: of the adapters' first weights.

    Raises:
        UserError: the encoder has no layer of that kind, or the library peft is missing.
    """
    return _norms_alone(student) if scope == "norm" else _with_adapters(student, rank, alpha, seed)


def _norms_alone(student: Any) -> Narrowed:
    encoder = {name for name, parameter in student.encoder_parameters() if parameter.requires_grad}
    names = {f"{module}.{name}" for module, of in _layers(student, _NORMS) for name, _ in of.named_parameters()}
    changing = encoder & names
    if not changing:
        raise UserError("unlearn.scope=norm: the model's encoder has no normalisation layer that trains; choose lora")
    for name, parameter in student.encoder_parameters():
        parameter.requires_grad_(name in changing)
    hooks = [layer.register_forward_pre_hook(_with_gradient) for _, layer in _layers(student, (nn.GroupNorm,))]

    def finish() -> None:
        for hook in hooks:
            hook.remove()

    return Narrowed(frozenset(changing), finish)


def _with_gradient(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Torch 2.13 crashes where a group norm on the CPU, channels last, trains and its input wants no gradient."""
    wants = torch.is_grad_enabled() and inputs and not inputs[0].requires_grad
    return (inputs[0].detach().requires_grad_(), *inputs[1:]) if wants else inputs


def _with_adapters(student: Any, rank: int, alpha: int, seed: int) -> Narrowed:
    ensure_torchvision()  # before peft, which imports it by way of transformers
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError:
        raise UserError("unlearn.scope=lora needs the package peft, which is not installed; install it") from None
    places = _adaptable(student)
    if not places:
        raise UserError("unlearn.scope=lora: the model's encoder calls no linear or convolution layer; choose norm")
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


def _adaptable(student: Any) -> list[str]:
    """Names of the layers that E calls and that train; a layer of which E reads the weights alone would pass by."""
    encoder = {name for name, parameter in student.encoder_parameters() if parameter.requires_grad}
    layers = [
        (name, layer)
        for name, layer in _layers(student, (nn.Linear, nn.Conv2d))
        if f"{name}.weight" in encoder and getattr(layer, "groups", 1) == 1
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


def _layers(student: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in student.named_modules() if isinstance(module, kinds))
