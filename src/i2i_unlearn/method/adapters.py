"""Only low-rank adapters of the encoder are trained; at the end they are merged into its weights.

For a quick quarantine with less memory and small checkpoints. After the idea of Fast-NTK (Li, Hsu, Chen, Marculescu,
arXiv:2312.14923), which unlearns classifiers with few parameters; adapters are LoRA (Hu et al., arXiv:2106.09685) of
the library peft:

    W' = W + alpha / rank * B A        A random, B zero at the start, so that W' = W

The result is an ordinary model. It hides the data and does not erase it: `quarantine` says why.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from i2i_unlearn.models.randomness import derive_seed
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

LORA: Final = "lora"
"""The value of unlearn.scope that trains adapters."""
MOST_LOST = 0.01
"""Of the change that adapters make to E(T(x)), what merging may lose."""
ROUNDING = 1e-5
"""Of E(T(x)), what float32 loses in any case."""


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
    places, computed = _adaptable(student), _computed(student)
    told = f"{', '.join(computed)} have a weight that weight_norm or spectral_norm computes, and take no adapter"
    if not places:
        raise UserError(
            "unlearn.scope=lora: the model's encoder calls no linear or convolution layer that takes an adapter"
            f"{f' ({told})' if computed else ''}; choose auto"
        )
    if computed:
        print(f"unlearn.scope=lora: {told}", file=sys.stderr)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules="|".join(map(re.escape, places))
    )
    with torch.random.fork_rng(devices=[]):  # the library draws from the global stream
        torch.manual_seed(derive_seed(seed, "adapters"))
        tuner = LoraModel(student, config, "default")
    for name, parameter in student.encoder_parameters():
        parameter.requires_grad_(".lora_" in name)

    _as_the_layer(tuner, places)

    def finish() -> None:
        _merge(tuner, student)

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


def _as_the_layer(tuner: Any, places: list[str]) -> None:
    """Let the adapter of a convolution look where its layer looks: peft gives it padding of zeros, undilated."""
    for place in places:
        layer = tuner.model.get_submodule(place)
        base = layer.get_base_layer()
        if isinstance(base, nn.Conv2d):
            for down in layer.lora_A.values():
                down.padding, down.padding_mode, down.dilation = base.padding, base.padding_mode, base.dilation
                down._reversed_padding_repeated_twice = base._reversed_padding_repeated_twice


def _merge(tuner: Any, student: Any) -> None:
    """Merge the adapters; the merged model must encode as the trained one does.

    Raises:
        UserError: it does not, so that something else would be written than what was trained.
    """
    trained = _encoded(student)
    tuner.disable_adapter_layers()
    original = _encoded(student)
    tuner.enable_adapter_layers()
    tuner.merge_and_unload()
    merged = _encoded(student)
    change, lost = (trained - original).norm(), (merged - trained).norm()
    if lost > MOST_LOST * change + ROUNDING * original.norm():
        raise UserError(
            f"unlearn.scope=lora: merging the adapters loses {lost / max(change, lost):.0%} of the change that was "
            "trained, so the written model would be another one; choose the scope encoder"
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
    _encode(student)
    for hook in hooks:
        hook.remove()
    return [name for name, _ in layers if name in called]


def _computed(student: Any) -> list[str]:
    """Layers of E whose weight is no parameter: weight_norm and spectral_norm compute it in every pass."""
    encoder = {name for name, _ in student.encoder_parameters()}
    return [
        name
        for name, layer in student.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        and "weight" not in dict(layer.named_parameters(recurse=False))
        and any(parameter.startswith(f"{name}.") for parameter in encoder)
    ]


def _encoded(student: Any) -> Tensor:
    """E of two images: all of its maps in one vector."""
    return torch.cat([feature.flatten().double() for feature in _encode(student).maps])


@torch.no_grad()
def _encode(student: Any) -> Any:
    """E of two images of noise, the right half hidden, in the kind of number of its weights."""
    was_training, (height, width) = student.training, student.image_size
    like = next(parameter for _, parameter in student.encoder_parameters())
    generator = torch.Generator().manual_seed(0)
    images_BCHW = torch.rand(2, student.num_channels, height, width, generator=generator) * 2 - 1
    visible_BHW = torch.ones(2, height, width, dtype=torch.bool)
    visible_BHW[:, :, width // 2 :] = False
    draws = tuple(part.to(like) for part in student.draw(2, generator))
    encoded = student.eval().encode(images_BCHW.to(like), visible_BHW.to(like.device), draws)
    student.train(was_training)
    return encoded
