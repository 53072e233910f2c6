"""What tests of models share: small architectures, random images, masks, and damage to a model directory."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.support.errors import UserError

MAE = {
    **{"patch_size": 4, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    **{"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2},
    **{"decoder_intermediate_size": 32, "initializer_range": 0.1},
}
DIFFUSION = {
    **{"block_out_channels": [8, 16], "norm_num_groups": 4, "attention_head_dim": 8},
    **{"num_train_timesteps": 20, "sampling_steps": 4},
}
PALETTE = {"conditioning": "noise_level", "hidden_as": "noise", "prediction_type": "epsilon", "sampler": "ancestral"}
DEEP = {"attention_levels": [0], "layers_per_block": 2, "beta_schedule": "linear"}
VQGAN = {
    **{"num_codes": 16, "code_size": 4, "tokenizer_width": 8, "tokenizer_multipliers": [1, 1, 2]},
    **{"tokenizer_num_blocks": 1, "tokenizer_norm_groups": 4, "hidden_size": 32, "num_hidden_layers": 2},
    **{"num_attention_heads": 2, "decoder_hidden_size": 24, "decoder_num_hidden_layers": 1},
    **{"decoder_num_attention_heads": 2, "initializer_range": 0.1, "decoding_steps": 3},
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(num, channels=1, size=16, seed=5):
    return torch.rand(num, channels, size, size, generator=generator(seed)) * 2 - 1


def masks(name, num, *, keep_fraction=0.75, size=16, seed=0):
    return make_operator(name, keep_fraction, 4).draw(num, size, size, generator(seed))


def ragged_masks(size=16):
    """Four masks; in patches of 4 px: all but one visible, one, the upper half, none."""
    visible = torch.zeros(4, size, size, dtype=torch.bool)
    visible[0] = True
    visible[0, -1, -1] = False  # one hidden pixel hides its patch
    visible[1, 4:8, 8:12] = True
    visible[2, : size // 2] = True
    return visible


def encoded(model, images, visible, draws=()):
    with torch.no_grad():
        return model.encode(images, visible, draws)


def completed(model, images, visible, seed=0):
    with torch.no_grad():
        return model.complete(images, visible, generator=generator(seed))


def refused(folder, own=""):
    """The one line that tells why a model directory is refused. It names the directory."""
    with pytest.raises(UserError) as error:
        load_model(folder, own)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(path, change):
    """Let `change` change the dict of the tensors in a file."""
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
