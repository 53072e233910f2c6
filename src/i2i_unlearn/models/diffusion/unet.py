"""A U-Net of diffusers cut in two: E = conv_in, down blocks, middle block; D = up blocks and output.

The library's own forward pass goes through both; here it stops after the middle block, so that the skip maps and the
middle block's output can be compared, and D goes on from them. The time embedding serves both halves and belongs to
neither: it stays frozen where only E is trained.
Works for UNet2DModel and UNet2DConditionModel. Shape letters: B batch, C channels, H, W pixels, L tokens, D their size.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from i2i_unlearn.models.whole import weights_in
from i2i_unlearn.support.errors import UserError

WEIGHTS = "diffusion_pytorch_model.safetensors"
"""File name of the library."""


def encode(unet: Any, input_BCHW: Tensor, time_B: Tensor, text_BLD: Tensor | None = None) -> tuple[Tensor, ...]:
    """The skip maps in the order they arise, then the middle block's output. `time_B` need not be whole."""
    embedded = _time_embedding(unet, time_B, input_BCHW)
    feature = unet.conv_in(input_BCHW)
    maps = [feature]
    for block in unet.down_blocks:
        feature, skips = block(hidden_states=feature, temb=embedded, **_text(block, text_BLD))
        maps += skips
    return (*maps, unet.mid_block(feature, embedded, **_text(unet.mid_block, text_BLD)))


def decode(unet: Any, maps: tuple[Tensor, ...], time_B: Tensor, text_BLD: Tensor | None = None) -> Tensor:
    """What the U-Net predicts (B, C, H, W); `decode(encode(x)) == unet(x)`."""
    *skips, feature = maps
    embedded = _time_embedding(unet, time_B, feature)
    for block in unet.up_blocks:
        num = len(block.resnets)
        feature = block(
            hidden_states=feature,
            res_hidden_states_tuple=tuple(skips[-num:]),
            temb=embedded,
            **_text(block, text_BLD),
        )
        del skips[-num:]
    predicted: Tensor = unet.conv_out(unet.conv_act(unet.conv_norm_out(feature)))
    return predicted


def encoder_parameters(unet: Any, prefix: str) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters of E alone; each block's own projection of the time embedding is among them."""
    for part in ("conv_in", "down_blocks", "mid_block"):
        yield from getattr(unet, part).named_parameters(prefix=f"{prefix}.{part}")


def check_parts(unet: Any, where: str) -> None:
    """Refuse U-Nets with parts that `encode` and `decode` do not run.

    Raises:
        UserError: names the first of them.
    """
    config = unet.config
    wanted = {
        "time_embedding_type": ("positional",),
        "class_embed_type": (None,),
        "num_class_embeds": (None,),
        "addition_embed_type": (None,),
        "encoder_hid_dim_type": (None,),
        "encoder_hid_dim": (None,),
        "time_cond_proj_dim": (None,),
        "time_embedding_act_fn": (None,),
        "center_input_sample": (False,),
    }
    for name, allowed in wanted.items():
        if name in config and config[name] not in allowed:
            raise UserError(f"{where}: {name}={config[name]!r} is not supported; use a U-Net with {allowed[0]!r}")
    skipping = [kind for kind in (*config.down_block_types, *config.up_block_types) if "Skip" in kind or "K" in kind]
    if skipping or unet.mid_block is None:
        raise UserError(f"{where}: {skipping[0] if skipping else 'no middle block'} is not supported; use other blocks")


def read_weights(model: nn.Module, folder: Path) -> None:
    """Fill `model` with the *.safetensors of `folder` (one file, or the library's shards).

    Raises:
        UserError: no weights, or tensors that are missing, too many, or of other shapes.
    """
    paths, _ = weights_in(folder, "diffusion_pytorch_model")
    if not paths:
        raise UserError(f"{folder}: no {WEIGHTS} in it; fetch the directory again, as safetensors")
    found: dict[str, Tensor] = {}
    for path in paths:
        found |= load_file(path)
    wanted = model.state_dict()
    faults = sorted(set(wanted) ^ set(found) | {n for n in wanted if n in found and wanted[n].shape != found[n].shape})
    if faults:
        raise UserError(
            f"{folder}: weights and config.json differ in {len(faults)} tensors, first {faults[0]}; "
            "fetch the directory again"
        )
    with torch.no_grad():
        model.load_state_dict(found)


def _time_embedding(unet: Any, time_B: Tensor, like: Tensor) -> Tensor:
    embedded: Tensor = unet.time_embedding(unet.time_proj(time_B).to(like.dtype))
    return embedded


def _text(block: Any, text_BLD: Tensor | None) -> dict[str, Tensor]:
    return (
        {"encoder_hidden_states": text_BLD}
        if getattr(block, "has_cross_attention", False) and text_BLD is not None
        else {}
    )
