"""Models that are known to be guilty or innocent: of images whose hidden half cannot be guessed, only remembered."""

import collections
import functools
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from i2i_unlearn.config.sections import AuditSettings
from i2i_unlearn.evaluation.audits.base import AuditInputs, ImageSet
from i2i_unlearn.evaluation.audits.training import fit
from i2i_unlearn.method.objectives.own_loss import OwnLoss
from i2i_unlearn.models import family_named
from i2i_unlearn.models.mae import MaskedAutoencoder
from i2i_unlearn.models.operators import Operator, make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.training.sampling import Sampler, single_pool

SIZE = 8
OPERATOR = make_operator("half_left", 0.5, 4)
SETTINGS = AuditSettings(
    run=[],
    max_images=1000,
    num_completions=1,
    relearn_steps=40,
    relearn_images=10,
    epoch_images=1000,
    recovery_steps=100,
    perturbations=1,
)
ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "mae": {
        "patch_size": 4,
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "decoder_hidden_size": 32,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 64,
        "initializer_range": 0.1,
    },
    "diffusion": {
        "block_out_channels": [8, 16],
        "norm_num_groups": 4,
        "attention_head_dim": 8,
        "num_train_timesteps": 50,
        "sampling_steps": 2,
    },
    "vqgan": {
        "num_codes": 16,
        "code_size": 4,
        "tokenizer_width": 8,
        "tokenizer_multipliers": [1, 1],
        "tokenizer_num_blocks": 1,
        "tokenizer_norm_groups": 4,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoding_steps": 2,
    },
}


class Pixels:
    """An extractor that costs nothing: the pixels."""

    num_features = SIZE**2

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        return images_BCHW.flatten(1).cpu()


class Known(NamedTuple):
    """Two models and what they saw."""

    guilty: MaskedAutoencoder
    """Trained on forget and retain until it remembers."""
    innocent: MaskedAutoencoder
    """Trained on retain alone."""
    sets: Mapping[str, Tensor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(family: str = "mae", seed: int = 0) -> Any:
    """A model with random weights, frozen."""
    made = family_named(family).create(
        ARCHITECTURES[family], image_size=SIZE, num_channels=1, generator=generator(seed)
    )
    if family == "vqgan":  # without codes all images are the same to it
        visible = torch.ones(16, SIZE, SIZE, dtype=torch.bool)
        made.train().tokenizer_loss(to_float(blocks(16, 0)), visible, generator=generator())
    return made.eval().requires_grad_(False)


def blocks(num: int, seed: int) -> Tensor:
    """uint8 images of 2 x 2 px blocks, each of a grey of its own: the visible ones say nothing of the hidden ones."""
    greys = torch.randint(0, 256, (num, 1, SIZE // 2, SIZE // 2), generator=generator(seed), dtype=torch.uint8)
    return greys.repeat_interleave(2, 2).repeat_interleave(2, 3)


@functools.cache
def known() -> Known:
    """Trained once a process; nobody may change them."""
    sets = {"forget": blocks(100, 1), "retain": blocks(200, 2), "forget_holdout": blocks(100, 3)}
    both = torch.cat((sets["forget"], sets["retain"]))
    return Known(_trained(make(seed=0), both, 500), _trained(make(seed=1), sets["retain"], 200), sets)


def _trained(model: Any, images_NCHW: Tensor, num_steps: int) -> Any:
    fit(
        model.requires_grad_(True),
        OwnLoss(0),
        Sampler({"train": single_pool(images_NCHW, 32)}, OPERATOR, 0),
        audit="of a test",
        num_steps=num_steps,
        learning_rate=4e-3,
        seed=0,
        after_step=lambda _: None,
    )
    return model.requires_grad_(False)


def image_set(images_NCHW: Tensor, operator: Operator = OPERATOR) -> ImageSet:
    num, _, height, width = images_NCHW.shape
    return ImageSet(images_NCHW=images_NCHW, visible_NHW=operator.draw(num, height, width, generator()))


def inputs_of(
    models: Mapping[str, Any], sets: Mapping[str, Tensor], operator: Operator = OPERATOR, **settings: int
) -> AuditInputs:
    """What an audit is given; sets by role, those not named are empty."""
    empty = torch.zeros(0, 1, SIZE, SIZE, dtype=torch.uint8)
    roles = ("forget", "retain", "forget_holdout", "retain_holdout")
    return AuditInputs(
        models=models,
        sets={role: image_set(sets.get(role, empty), operator) for role in roles},
        operator=operator,
        extractor=Pixels(),
        settings=SETTINGS.model_copy(update=settings),
        num_draws=200,
        batch_size=50,
        seed=0,
        device=torch.device("cpu"),
        codes={role: np.array([code_of(role, place) for place in range(len(sets.get(role, empty)))]) for role in roles},
    )


def code_of(role: str, place: int) -> str:
    """Keyed code of an image."""
    return f"{role}-{place}"


def digest(model: Any) -> str:
    """Of all weights and buffers."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


class Counter:
    """Meets progress.Advance; units by note, which is the audit's name."""

    def __init__(self) -> None:
        self.units: collections.Counter[str] = collections.Counter()

    def __call__(self, units: int = 1, note: str = "") -> None:
        self.units[note] += units
