"""MAGE's public files -> the family `vqgan`.

    mage-vitb-1600.pth, mage-vitl-1600.pth     tokenizer and transformer: {model: state dict}
    vqgan_jax_strongaug.ckpt                   the tokenizer alone, flat or under `state_dict`

Li et al., arXiv:2211.09117; https://github.com/LTH14/mage. Where a model's file holds its tokenizer, that one is taken,
as the original does. What no file tells: the numbers of heads, which are known for the published widths, and how
images are decoded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor

from i2i_unlearn.models.published.options import Options, heads_of, read_options
from i2i_unlearn.models.published.reading import Content, check_fit, read_checkpoint
from i2i_unlearn.models.published.shapes import depth, shape, side
from i2i_unlearn.models.vqgan.architecture import Architecture
from i2i_unlearn.models.vqgan.mage_keys import CODEBOOK, TOKENIZER_PREFIX, is_unused, model_names, published_name
from i2i_unlearn.models.vqgan.model import MaskedTokenModel
from i2i_unlearn.support.errors import UserError

FAMILY = MaskedTokenModel.family
LEFT_OUT, IN_ANOTHER_FILE = "", TOKENIZER_PREFIX
"""Prefixes of the tensors that are no part of the model, and of those that another file may hold instead."""
HEADS = {768: 12, 1024: 16}
"""Width -> heads of ViT-B and L."""
DECODER_HEADS = {768: 16, 1024: 16}
NORM_GROUPS = 32


class MageOptions(Options):
    """What the file does not tell."""

    num_attention_heads: PositiveInt | None = None
    decoder_num_attention_heads: PositiveInt | None = None
    tokenizer: str = ""
    """File of the tokenizer, for a model's file without one."""
    fake_class: NonNegativeInt = 76
    """Which class's id starts every sequence."""
    decoding_steps: PositiveInt = 8
    temperature: NonNegativeFloat = 4.5


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a MAGE, or of its tokenizer."""
    return "token_emb.word_embeddings.weight" in tensors or {CODEBOOK, "encoder.conv_in.weight"} <= set(tensors)


def convert(content: Content, options: Mapping[str, Any]) -> tuple[MaskedTokenModel, list[str]]:
    """The model, and what is to be known of it.

    Raises:
        UserError: a tensor is missing, left over or of another shape, or an option is wrong or missing.
    """
    given = read_options(MageOptions, options, "MAGE")
    if "token_emb.word_embeddings.weight" not in content.tensors:
        raise UserError(
            f"{content.path}: holds the tokenizer alone; give the model's file (mage-vit*.pth), with this one as "
            "snapshot.checkpoint: {tokenizer: FILE} where the model's has none"
        )
    whole = _with_tokenizer(content, given)
    architecture = architecture_of(whole, given)
    check_fit(whole, shapes_of(architecture))
    model = MaskedTokenModel(architecture)
    model.load_state_dict(model_names({name: tensor.float() for name, tensor in whole.tensors.items()}))
    model.tokenizer.requires_grad_(False)
    return model, list(whole.notes[len(content.notes) :])


def options_of(model: MaskedTokenModel) -> dict[str, Any]:
    """The options by which a file of the model's architecture is read as this model."""
    names = ("num_attention_heads", "decoder_num_attention_heads", "fake_class", "decoding_steps", "temperature")
    return {name: getattr(model.architecture, name) for name in names}


def description_of(model: MaskedTokenModel) -> dict[str, Any]:
    """All by which models of this format differ, but for their weights."""
    return model.architecture.content()


def original_tensors(model: MaskedTokenModel) -> dict[str, Tensor]:
    """The model's weights by the file's names, the tokenizer's among them; the inverse of `convert`."""
    return {published_name(name): tensor for name, tensor in model.state_dict().items()}


def architecture_of(content: Content, given: MageOptions) -> Architecture:
    """From the shapes of the tensors; what the computation does not use is not asked for."""
    tensors = content.tensors
    encoder = f"{TOKENIZER_PREFIX}encoder"
    num_codes, code_size = shape(content, TOKENIZER_PREFIX + CODEBOOK, 2)
    tokenizer_width, num_channels, *_ = shape(content, f"{encoder}.conv_in.weight", 4)
    levels = range(depth(tensors, f"{encoder}.down"))
    widths = [shape(content, f"{encoder}.down.{level}.block.0.conv1.weight", 4)[0] for level in levels]
    vocabulary, hidden_size = shape(content, "token_emb.word_embeddings.weight", 2)
    _, length, decoder_hidden_size = shape(content, "decoder_pos_embed_learned", 3)
    grid = side(content, "decoder_pos_embed_learned", length - 1)
    return Architecture.of(
        {
            "image_size": grid * 2 ** (len(widths) - 1),
            "num_channels": num_channels,
            "num_codes": num_codes,
            "code_size": code_size,
            "tokenizer_width": tokenizer_width,
            "tokenizer_multipliers": [width // tokenizer_width for width in widths],
            "tokenizer_num_blocks": depth(tensors, f"{encoder}.down.0.block"),
            "tokenizer_norm_groups": NORM_GROUPS,
            "hidden_size": hidden_size,
            "num_hidden_layers": depth(tensors, "blocks"),
            "num_attention_heads": heads_of(
                content.path, "num_attention_heads", given.num_attention_heads, HEADS, hidden_size
            ),
            "decoder_hidden_size": decoder_hidden_size,
            "decoder_num_hidden_layers": depth(tensors, "decoder_blocks"),
            "decoder_num_attention_heads": heads_of(
                content.path,
                "decoder_num_attention_heads",
                given.decoder_num_attention_heads,
                DECODER_HEADS,
                decoder_hidden_size,
            ),
            "mlp_ratio": shape(content, "blocks.0.mlp.fc1.weight", 2)[0] / hidden_size,
            "dropout": 0.1,
            "label_smoothing": 0.1,
            "num_classes": vocabulary - num_codes - 1,
            "fake_class": given.fake_class,
            "num_positions": shape(content, "token_emb.position_embeddings.weight", 2)[0],
            "hidden_tokens": "mask",
            "decoding_steps": given.decoding_steps,
            "temperature": given.temperature,
        },
        str(content.path),
    )


def shapes_of(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape that each of the file's tensors must have, but for those that no computation uses."""
    with torch.device("meta"):
        ours = MaskedTokenModel(architecture).state_dict()
    return {published_name(name): tuple(tensor.shape) for name, tensor in ours.items()}


def _with_tokenizer(content: Content, given: MageOptions) -> Content:
    """The tensors that are used, the tokenizer's among them."""
    tensors = {name: tensor for name, tensor in content.tensors.items() if not is_unused(name)}
    notes, places = list(content.notes), {}
    if not any(name.startswith(TOKENIZER_PREFIX) for name in tensors):
        if not given.tokenizer:
            raise UserError(
                f"{content.path}: holds no tokenizer; name its file: snapshot.checkpoint: {{tokenizer: FILE}} "
                "(vqgan_jax_strongaug.ckpt)"
            )
        other = read_checkpoint(Path(given.tokenizer))
        places = {TOKENIZER_PREFIX: other.path}
        tensors |= {TOKENIZER_PREFIX + name: tensor for name, tensor in other.tensors.items()}
        notes += [*other.notes, f"the tokenizer is that of {other.path.name}"]
    elif given.tokenizer:
        notes.append(f"{content.path.name} holds its own tokenizer, which is taken; {given.tokenizer} is not read")
    return Content(content.path, tensors, content.settings, notes, places=places)
