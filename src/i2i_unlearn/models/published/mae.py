"""MAE's public files -> the family `mae`.

    mae_visualize_vit_*.pth, mae_pretrain_vit_*_full.pth     encoder and decoder
    mae_pretrain_vit_{base,large,huge}.pth                   the encoder alone
    checkpoint-*.pth of the training script                  encoder and decoder, optimizer, command line

He et al., arXiv:2111.06377; https://github.com/facebookresearch/mae. What no file tells: the numbers of heads, which
are known for the published widths, and whether the loss takes normalised patches, which only the training script's
files tell. All layer norms have an epsilon of 1e-6, and pixels are normalised as ImageNet's.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor

from i2i_unlearn.models.mae import MaskedAutoencoder
from i2i_unlearn.models.published.options import Options, heads_of, read_options
from i2i_unlearn.models.published.reading import Content, check_fit
from i2i_unlearn.models.published.shapes import depth, shape, side
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

ensure_torchvision()  # before transformers, which imports it
from transformers import ViTMAEConfig, ViTMAEForPreTraining  # noqa: E402

EPSILON = 1e-6
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, by which the originals were trained."""
HEADS = {768: 12, 1024: 16, 1280: 16}
"""Width -> heads of ViT-B, L and H."""
DECODER_HEADS = {512: 16}
TOLERANCE = 1e-2
"""Of the position table, which may be stored in short numbers."""
FAMILY = MaskedAutoencoder.family
LEFT_OUT, IN_ANOTHER_FILE = "", ""
"""Prefixes of the tensors that are no part of the model, and of those that another file may hold instead."""
WITHOUT_DECODER = (
    "holds no decoder: the model can be unlearned by objectives that look at the encoder's output (encoder_l2, "
    "random_encoder, epsilon_constraint, heldout_like); it completes no images, so it cannot be evaluated or served"
)
_ARCHITECTURE = (
    *("image_size", "patch_size", "num_channels", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("intermediate_size", "layer_norm_eps", "hidden_act", "qkv_bias", "norm_pix_loss"),
)
_DECODER_ARCHITECTURE = tuple(
    f"decoder_{name}" for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
)
_PARTS = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_ENDS = {
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj.weight": "vit.embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "vit.embeddings.patch_embeddings.projection.bias",
    "norm.weight": "vit.layernorm.weight",
    "norm.bias": "vit.layernorm.bias",
}
_DECODER_ENDS = {
    "mask_token": "decoder.mask_token",
    **{
        f"decoder_{name}": f"decoder.decoder_{name}"
        for name in (
            *("pos_embed", "embed.weight", "embed.bias", "norm.weight", "norm.bias", "pred.weight", "pred.bias"),
        )
    },
}


class MaeOptions(Options):
    """What the file does not tell."""

    num_attention_heads: PositiveInt | None = None
    decoder_num_attention_heads: PositiveInt | None = None
    image_size: PositiveInt | None = None
    """Height and width; only for a position table that is not MAE's own."""
    norm_pix_loss: bool | None = None
    """None = as the training script's settings in the file say, else false."""
    image_mean: tuple[float, ...] = MEAN
    image_std: tuple[float, ...] = DEVIATION


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a MAE."""
    return {"patch_embed.proj.weight", "pos_embed", "cls_token", "blocks.0.attn.qkv.weight"} <= set(tensors)


def convert(content: Content, options: Mapping[str, Any]) -> tuple[MaskedAutoencoder, list[str]]:
    """The model, and what is to be known of it.

    Raises:
        UserError: a tensor is missing, left over or of another shape, or an option is wrong or missing.
    """
    stored = {key: value for key, value in content.settings.items() if key == "norm_pix_loss"}
    given = read_options(MaeOptions, {**stored, **options}, "MAE")
    has_decoder = any(name.startswith("decoder_") for name in content.tensors)
    config = config_of(content, given, has_decoder=has_decoder)
    places = places_of(config, has_decoder=has_decoder)
    check_fit(content, shapes_of(config, places))
    _check_square(content, config.image_size, config.patch_size, given)
    with torch.device("meta"):
        model = ViTMAEForPreTraining(config)
    if not has_decoder:
        model.decoder = None
    state = {
        ours: part.contiguous()
        for name, found in places.items()
        for ours, part in zip(found, content.tensors[name].float().chunk(len(found)), strict=True)
    }
    model.load_state_dict(state, assign=True)
    notes = [] if has_decoder else [f"{content.path.name} {WITHOUT_DECODER}"]
    return MaskedAutoencoder(model, given.image_mean, given.image_std), notes


def options_of(model: MaskedAutoencoder) -> dict[str, Any]:
    """The options by which a file of the model's architecture is read as this model."""
    config = model.model.config
    return {
        "num_attention_heads": config.num_attention_heads,
        "decoder_num_attention_heads": config.decoder_num_attention_heads,
        "image_size": config.image_size,
        "norm_pix_loss": config.norm_pix_loss,
        "image_mean": tuple(model.mean_C11.flatten().tolist()),
        "image_std": tuple(model.deviation_C11.flatten().tolist()),
    }


def description_of(model: MaskedAutoencoder) -> dict[str, Any]:
    """All by which models of this format differ, but for their weights."""
    config = model.model.config
    has_decoder = model.model.decoder is not None
    names = (*_ARCHITECTURE, *(_DECODER_ARCHITECTURE if has_decoder else ()))
    return {"decoder": has_decoder, **{name: getattr(config, name) for name in names}}


def original_tensors(model: MaskedAutoencoder) -> dict[str, Tensor]:
    """The model's weights by the file's names; the inverse of `convert`."""
    ours = model.model.state_dict()
    places = places_of(model.model.config, has_decoder=model.model.decoder is not None)
    return {name: torch.cat([ours[part] for part in found]) for name, found in places.items()}


def config_of(content: Content, given: MaeOptions, *, has_decoder: bool) -> ViTMAEConfig:
    """The architecture, from the shapes of the tensors."""
    tensors = content.tensors
    width, num_channels, patch_size, _ = shape(content, "patch_embed.proj.weight", 4)
    num_patches = shape(content, "pos_embed", 3)[1] - 1
    image_size = side(content, "pos_embed", num_patches) * patch_size
    decoder: dict[str, int] = {"decoder_hidden_size": 4, "decoder_num_hidden_layers": 1, "decoder_intermediate_size": 4}
    decoder["decoder_num_attention_heads"] = 1
    if has_decoder:
        decoder_width = shape(content, "decoder_embed.weight", 2)[0]
        decoder = {
            "decoder_hidden_size": decoder_width,
            "decoder_num_hidden_layers": depth(tensors, "decoder_blocks"),
            "decoder_intermediate_size": shape(content, "decoder_blocks.0.mlp.fc1.weight", 2)[0],
            "decoder_num_attention_heads": heads_of(
                content.path,
                "decoder_num_attention_heads",
                given.decoder_num_attention_heads,
                DECODER_HEADS,
                decoder_width,
            ),
        }
    return ViTMAEConfig(
        image_size=image_size,
        patch_size=patch_size,
        num_channels=num_channels,
        hidden_size=width,
        num_hidden_layers=depth(tensors, "blocks"),
        intermediate_size=shape(content, "blocks.0.mlp.fc1.weight", 2)[0],
        num_attention_heads=heads_of(content.path, "num_attention_heads", given.num_attention_heads, HEADS, width),
        layer_norm_eps=EPSILON,
        hidden_act="gelu",
        qkv_bias=True,
        norm_pix_loss=bool(given.norm_pix_loss),
        has_decoder=has_decoder,
        **decoder,
    )


def _check_square(content: Content, image_size: int, patch_size: int, given: MaeOptions) -> None:
    """Four rows of four patches have as many places as two rows of eight; the position table tells which they are.

    Raises:
        UserError: the images are no squares, or the table does not tell and nobody else does.
    """
    table_ND, rows = content.tensors["pos_embed"][0, 1:].float(), image_size // patch_size
    if torch.allclose(table_ND, sine_table(table_ND.shape[1], rows, rows), atol=TOLERANCE):
        return
    for height in (number for number in range(1, rows**2 + 1) if rows**2 % number == 0):
        width = rows**2 // height
        if torch.allclose(table_ND, sine_table(table_ND.shape[1], height, width), atol=TOLERANCE):
            raise UserError(
                f"{content.path}: pos_embed is the table of {height} x {width} patches, of images of "
                f"{height * patch_size} x {width * patch_size} pixels; the family mae takes square images alone"
            )
    if given.image_size is None:
        raise UserError(
            f"{content.path}: pos_embed is not MAE's table of a square, so the file does not say whether its images "
            f"are; if they are, say so: snapshot.checkpoint: {{image_size: {image_size}}}"
        )
    if given.image_size != image_size:
        raise UserError(
            f"snapshot.checkpoint.image_size={given.image_size}: {content.path} has {rows**2} patches of {patch_size} "
            f"pixels, a square of {image_size}; correct it, or leave it out"
        )


def sine_table(size: int, height: int, width: int) -> Tensor:
    """MAE's position table (height * width, size), without the class token: of the column, then of the row."""
    frequencies = 10000.0 ** (-torch.arange(size // 4, dtype=torch.float64) / (size / 4))
    row, column = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    angles = [place.reshape(-1, 1) * frequencies for place in (column, row)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1).float()


def places_of(config: ViTMAEConfig, *, has_decoder: bool) -> dict[str, tuple[str, ...]]:
    """The file's names -> transformers' names; one matrix of query, key and value becomes three."""
    stacks = [("blocks", "vit.layers", config.num_hidden_layers)]
    places: dict[str, tuple[str, ...]] = {name: (ours,) for name, ours in _ENDS.items()}
    if has_decoder:
        stacks.append(("decoder_blocks", "decoder.decoder_layers", config.decoder_num_hidden_layers))
        places |= {name: (ours,) for name, ours in _DECODER_ENDS.items()}
    for theirs, ours, num_layers in stacks:
        for layer in range(num_layers):
            for kind in ("weight", "bias"):
                for part, name in _PARTS.items():
                    places[f"{theirs}.{layer}.{part}.{kind}"] = (f"{ours}.{layer}.{name}.{kind}",)
                places[f"{theirs}.{layer}.attn.qkv.{kind}"] = tuple(
                    f"{ours}.{layer}.attention.{letter}_proj.{kind}" for letter in "qkv"
                )
    return places


def shapes_of(config: ViTMAEConfig, places: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[int, ...]]:
    """The shape that each of the file's tensors must have."""
    with torch.device("meta"):
        ours = ViTMAEForPreTraining(config).state_dict()
    shapes = {}
    for name, found in places.items():
        first, *rest = ours[found[0]].shape
        shapes[name] = (first * len(found), *rest)
    return shapes
