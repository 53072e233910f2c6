"""Names of the public Palette U-Net's tensors, and of ours: which is which.

The public files (`<epoch>_Network.pth`) hold a flat state dict: six buffers of the training schedule, then
`denoise_fn.*`. Every tensor has one place in our U-Net (diffusion_settings.Architecture), but for attention: its
`qkv` is one matrix in which heads come first and each head's rows are q, k, v in turn.
"""

import re
from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor

PREFIX = "denoise_fn."
SCHEDULE_BUFFERS = (
    *("gammas", "sqrt_recip_gammas", "sqrt_recipm1_gammas"),
    *("posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2"),
)
_LAYERS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ENDS = {
    "cond_embed.0": "time_embedding.linear_1",
    "cond_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def convert(state: Mapping[str, Tensor], *, num_levels: int, layers_per_block: int, head_dim: int) -> dict[str, Tensor]:
    """The state dict of our U-Net from the public one's; without its schedule, which the schedule's settings give.

    `head_dim` = channels of one attention head (the public setting `num_head_channels`).

    Raises:
        KeyError, StopIteration: a tensor has no place in a U-Net of this many levels and layers.
    """
    residuals = dict(_residuals(num_levels, layers_per_block))
    attentions = dict(_attentions(num_levels, layers_per_block))
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name in SCHEDULE_BUFFERS:
            continue
        module, _, kind = name.removeprefix(PREFIX).rpartition(".")
        block, _, part = module.rpartition(".")
        if module in _ENDS:
            found[f"{_ENDS[module]}.{kind}"] = tensor
        elif part in ("norm", "qkv", "proj_out"):
            found |= _attention(attentions[block], part, kind, tensor, head_dim)
        else:
            layer = next(layer for layer in _LAYERS if module.endswith(f".{layer}"))
            found[f"{residuals[module.removesuffix(f'.{layer}')]}.{_LAYERS[layer]}.{kind}"] = tensor
    return found


def _attention(place: str, part: str, kind: str, tensor: Tensor, head_dim: int) -> dict[str, Tensor]:
    if part == "norm":
        return {f"{place}.group_norm.{kind}": tensor}
    flat = tensor.squeeze(-1) if kind == "weight" else tensor  # a 1-d convolution of size 1 is a matrix
    if part == "proj_out":
        return {f"{place}.to_out.0.{kind}": flat}
    heads = flat.view(-1, 3, head_dim, *flat.shape[1:])
    return {f"{place}.to_{letter}.{kind}": heads[:, i].flatten(0, 1) for i, letter in enumerate("qkv")}


def _residuals(num_levels: int, layers_per_block: int) -> Iterator[tuple[str, str]]:
    """(public residual block, ours): blocks are numbered through all levels there, by level and kind here."""
    number = 1  # input block 0 is the first convolution
    for level in range(num_levels):
        for layer in range(layers_per_block):
            yield f"input_blocks.{number}.0", f"down_blocks.{level}.resnets.{layer}"
            number += 1
        if level < num_levels - 1:
            yield f"input_blocks.{number}.0", f"down_blocks.{level}.downsamplers.0"
            number += 1
    yield "middle_block.0", "mid_block.resnets.0"
    yield "middle_block.2", "mid_block.resnets.1"
    for level in range(num_levels):
        for layer in range(layers_per_block + 1):
            yield f"output_blocks.{level * (layers_per_block + 1) + layer}.0", f"up_blocks.{level}.resnets.{layer}"
        # The last block of a level ends with the change of resolution: second where nothing attends, else third.
        last = (level + 1) * (layers_per_block + 1) - 1
        for part in (1, 2):
            yield f"output_blocks.{last}.{part}", f"up_blocks.{level}.upsamplers.0"


def _attentions(num_levels: int, layers_per_block: int) -> Iterator[tuple[str, str]]:
    yield "middle_block.1", "mid_block.attentions.0"
    for level in range(num_levels):
        for layer in range(layers_per_block):
            down = 1 + level * (layers_per_block + 1) + layer
            yield f"input_blocks.{down}.1", f"down_blocks.{level}.attentions.{layer}"
        for layer in range(layers_per_block + 1):
            up = level * (layers_per_block + 1) + layer
            yield f"output_blocks.{up}.1", f"up_blocks.{level}.attentions.{layer}"


def published_shapes(
    ours: Mapping[str, Tensor], *, num_levels: int, layers_per_block: int, attention_levels: Collection[int]
) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the public file, from the state dict of our U-Net; without the schedule."""
    names = _published_names(ours, num_levels, layers_per_block, attention_levels)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in ours.items():
        theirs, shape = names[name], tuple(tensor.shape)
        longer = (*shape, 1) if _is_convolution_there(theirs) else shape
        shapes[theirs] = (3 * longer[0], *longer[1:]) if _is_qkv(theirs) else longer
    return shapes


def restore(
    ours: Mapping[str, Tensor],
    *,
    num_levels: int,
    layers_per_block: int,
    attention_levels: Collection[int],
    head_dim: int,
) -> dict[str, Tensor]:
    """The public state dict from that of our U-Net: the inverse of `convert`, bit for bit."""
    names = _published_names(ours, num_levels, layers_per_block, attention_levels)
    found: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        theirs, flat = names[name], tensor
        if _is_qkv(theirs):
            parts = (ours[re.sub(r"\.to_[qkv]\.", f".to_{letter}.", name)] for letter in "qkv")
            flat = torch.stack([part.unflatten(0, (-1, head_dim)) for part in parts], dim=1).flatten(0, 2)
        found[theirs] = flat.unsqueeze(-1) if _is_convolution_there(theirs) else flat
    return found


def _published_names(
    ours: Mapping[str, Tensor], num_levels: int, layers_per_block: int, attention_levels: Collection[int]
) -> dict[str, str]:
    """Our name -> the public file's; three of ours are one `qkv` there."""
    attends_last = {level: num_levels - 1 - level in attention_levels for level in range(num_levels)}
    blocks = {place: name for name, place in _attentions(num_levels, layers_per_block)}
    for name, place in _residuals(num_levels, layers_per_block):
        _, _, kind, *_ = place.split(".")
        if kind != "upsamplers" or name.endswith(".2") == attends_last[int(place.split(".")[1])]:
            blocks[place] = name
    layers = {place: name for name, place in _LAYERS.items()}
    ends = {place: name for name, place in _ENDS.items()}
    names: dict[str, str] = {}
    for name in ours:
        module, _, kind = name.rpartition(".")
        if module in ends:
            names[name] = f"{PREFIX}{ends[module]}.{kind}"
        elif ".attentions." in module:
            block, part = _attention_part(module)
            names[name] = f"{PREFIX}{blocks[block]}.{part}.{kind}"
        else:
            block, _, layer = module.rpartition(".")
            names[name] = f"{PREFIX}{blocks[block]}.{layers[layer]}.{kind}"
    return names


def _is_qkv(theirs: str) -> bool:
    return theirs.endswith((".qkv.weight", ".qkv.bias"))


def _is_convolution_there(theirs: str) -> bool:
    """A 1-d convolution of size 1 where we have a matrix."""
    return theirs.endswith((".qkv.weight", ".proj_out.weight"))


def _attention_part(module: str) -> tuple[str, str]:
    """down_blocks.0.attentions.1.to_q -> (down_blocks.0.attentions.1, qkv)."""
    block, _, layer = module.removesuffix(".0").rpartition(".")
    return block, {"group_norm": "norm", "to_out": "proj_out"}.get(layer, "qkv")
