"""The published files that tests convert: small ones in each format's own layout (tests/golden)."""

import re
from pathlib import Path

import torch

from i2i_unlearn.models.published import convert_checkpoint

GOLDEN = Path(__file__).parents[2] / "golden"
HEADS = {"num_attention_heads": 4, "decoder_num_attention_heads": 8}
PALETTE = {
    **{"image_size": 16, "num_head_channels": 16, "res_blocks": 1, "linear_start": 1e-4, "linear_end": 0.2},
    **{"test_n_timestep": 8, "test_linear_start": 1e-3, "test_linear_end": 0.6},
}
OPTIONS = {"mae": HEADS, "mage": HEADS, "palette": PALETTE}
"""`snapshot.checkpoint` of each format."""


def file_of(name):
    return GOLDEN / name / "checkpoint.pth"


def converted(name):
    """The model of a format's file."""
    return convert_checkpoint(file_of(name), OPTIONS[name]).model


def weights(path):
    """All tensors of a file by name, in its order, and the key that wraps them."""
    content = torch.load(path, weights_only=True)
    return (content["model"], "model") if "model" in content else (content, "")


def changed(name, path, change):
    """Write a format's file with a changed state dict: what `change(state)` returns, or `state` as it leaves it."""
    state, wrapper = weights(file_of(name))
    found = change(state)
    state = found if isinstance(found, dict) else state
    torch.save({wrapper: state} if wrapper else state, path)
    return path


def without(prefixes):
    """A change that leaves out the tensors whose names match (`re.match`)."""
    return lambda state: {name: tensor for name, tensor in state.items() if not re.match(prefixes, name)}


ENCODER_ALONE = without("decoder_|mask_token")
"""What MAE's files without a decoder hold."""


def same_weights(one, other):
    """Whether two models or state dicts hold the same tensors by the same names, to the bit."""
    one, other = (dict(each) if isinstance(each, dict) else each.state_dict() for each in (one, other))
    return one.keys() == other.keys() and all(
        tensor.dtype == other[name].dtype and tensor.equal(other[name]) for name, tensor in one.items()
    )
