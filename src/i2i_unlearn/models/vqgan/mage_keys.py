"""Names of MAGE's public files -> names in this package's `MaskedTokenModel`. A table of names, no file is read here.

The module names inside tokenizer and transformer are the files' own, so only prefixes and the codebook differ.
"""

from collections.abc import Mapping

from torch import Tensor

TOKENIZER_PREFIX = "vqgan."
CODEBOOK = "quantize.embedding.weight"
UNUSED = ("patch_embed.", "cls_token", "pos_embed", "mask_token", "decoder_pos_embed", "decoder_pred.")
"""In the files, but in no computation."""
CONSTANT = "token_emb.position_ids"


def tokenizer_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A tokenizer's state dict, names without prefix, by the names of `VqTokenizer`."""
    return {"codebook_KD" if name == CODEBOOK else name: tensor for name, tensor in state.items()}


def model_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's state dict, which holds the tokenizer's, by the names of `MaskedTokenModel`."""
    tokenizer = {
        name.removeprefix(TOKENIZER_PREFIX): tensor
        for name, tensor in state.items()
        if name.startswith(TOKENIZER_PREFIX)
    }
    renamed = {f"tokenizer.{name}": tensor for name, tensor in tokenizer_names(tokenizer).items()}
    for name, tensor in state.items():
        if not name.startswith(TOKENIZER_PREFIX) and not is_unused(name):
            renamed[f"transformer.{name}"] = tensor
    return renamed


def published_name(name: str) -> str:
    """The file's name of one of `MaskedTokenModel`'s tensors."""
    part, _, rest = name.partition(".")
    if part == "tokenizer":
        return TOKENIZER_PREFIX + (CODEBOOK if rest == "codebook_KD" else rest)
    return rest


def is_unused(name: str) -> bool:
    """Whether no computation uses it."""
    return name == CONSTANT or any(name == part or (part[-1] == "." and name.startswith(part)) for part in UNUSED)
