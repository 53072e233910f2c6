"""Palette's public files -> the family `diffusion`.

    <epoch>_Network.pth         a flat state dict: six buffers of the training schedule, then denoise_fn.*
    <epoch>_Network_ema.pth     the same without buffers

Saharia et al., arXiv:2111.05826; https://github.com/Janspiry/Palette-Image-to-Image-Diffusion-Models. Files of the
unlearning paper's own code hold a second network, teacher_denoise_fn.*, which is left out. What no file tells: the
image size, channels of an attention head, and the schedules, which are the published ones unless they are given; a
training schedule that the file holds is compared.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from i2i_unlearn.models.diffusion.model import DiffusionInpainter
from i2i_unlearn.models.diffusion.palette_keys import PREFIX, SCHEDULE_BUFFERS, published_shapes, restore
from i2i_unlearn.models.diffusion.palette_keys import convert as to_ours
from i2i_unlearn.models.diffusion.settings import Architecture
from i2i_unlearn.models.published.options import Options, read_options
from i2i_unlearn.models.published.reading import Content, check_fit
from i2i_unlearn.models.published.shapes import depth, shape
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

ensure_torchvision()  # before diffusers, which imports it by way of transformers
from diffusers import DDPMScheduler, UNet2DModel  # noqa: E402

FAMILY = DiffusionInpainter.family
TEACHER = "teacher_denoise_fn."
LEFT_OUT, IN_ANOTHER_FILE = TEACHER, ""
"""Prefixes of the tensors that are no part of the model, and of those that another file may hold instead."""
NORM_GROUPS, DROPOUT = 32, 0.2
NUM_TIMES = 2000
"""Of the published training schedule."""


class PaletteOptions(Options):
    """What the file does not tell; named as in Palette's own settings."""

    image_size: PositiveInt
    """Height and width in pixels. A U-Net runs on any size, so a guess would show in nothing but the pictures."""
    num_head_channels: PositiveInt = 32
    res_blocks: PositiveInt = 2
    linear_start: PositiveFloat = 1e-6
    linear_end: PositiveFloat = 0.01
    """Of the training schedule; its length is that of the file's buffers."""
    test_n_timestep: PositiveInt = 1000
    test_linear_start: PositiveFloat = 1e-4
    test_linear_end: PositiveFloat = 0.09
    """Of the schedule to sample by."""


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a Palette."""
    return f"{PREFIX}input_blocks.0.0.weight" in tensors


def convert(content: Content, options: Mapping[str, Any]) -> tuple[DiffusionInpainter, list[str]]:
    """The model, and what is to be known of it.

    Raises:
        UserError: a tensor is missing, left over or of another shape, the schedule is another one, or an option is
            wrong.
    """
    if "image_size" not in options:
        raise UserError(
            f"{content.path}: does not say for which images it was trained; give their size in pixels: "
            "snapshot.checkpoint: {image_size: NUMBER} (256 for the published ones)"
        )
    given = read_options(PaletteOptions, options, "Palette")
    network = {name: tensor for name, tensor in content.tensors.items() if not name.startswith(TEACHER)}
    notes = [] if len(network) == len(content.tensors) else [f"{content.path.name} holds a second network, left out"]
    buffers = {name: network.pop(name) for name in SCHEDULE_BUFFERS if name in network}
    own = Content(content.path, network, {})
    architecture = architecture_of(own, given)
    check_fit(own, shapes_of(architecture, given.image_size))
    num_times = len(buffers["gammas"]) if "gammas" in buffers else NUM_TIMES
    train = _schedule(num_times, given.linear_start, given.linear_end)
    if "gammas" in buffers:
        _check_schedule(content, train, buffers["gammas"], given)
    unet = UNet2DModel.from_config(architecture.unet_config(given.image_size, 3))
    state = to_ours(
        {name: tensor.float() for name, tensor in network.items()},
        num_levels=len(architecture.block_out_channels),
        layers_per_block=architecture.layers_per_block,
        head_dim=given.num_head_channels,
    )
    unet.load_state_dict({name: tensor.contiguous() for name, tensor in state.items()})
    test = _schedule(given.test_n_timestep, given.test_linear_start, given.test_linear_end)
    return DiffusionInpainter(unet, train, architecture.settings(given.image_size, 3), test), notes


def options_of(model: DiffusionInpainter) -> dict[str, Any]:
    """The options by which a file of the model's architecture is read as this model.

    Raises:
        UserError: it has one schedule, and models of this format have two.
    """
    train, test, unet = model.scheduler.config, model.sampling_scheduler, model.unet.config
    if test is None:
        raise UserError("the model samples by the schedule it was trained by, so it was made from no file of Palette")
    return {
        "image_size": model.settings.image_size[0],
        "num_head_channels": unet.attention_head_dim,
        "res_blocks": unet.layers_per_block,
        "linear_start": train.beta_start,
        "linear_end": train.beta_end,
        "test_n_timestep": test.config.num_train_timesteps,
        "test_linear_start": test.config.beta_start,
        "test_linear_end": test.config.beta_end,
    }


def description_of(model: DiffusionInpainter) -> dict[str, Any]:
    """All by which models of this format differ, but for their weights."""
    parts = {"unet": model.unet, "train": model.scheduler, "test": model.sampling_scheduler}
    told = {f"{part}.{key}": value for part, of in parts.items() for key, value in of.config.items() if key[0] != "_"}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}
    return {**plain, **asdict(model.settings)}


def original_tensors(model: DiffusionInpainter) -> dict[str, Tensor]:
    """The network's weights by the file's names, without the schedule; the inverse of `convert`."""
    config = model.unet.config
    attends = [level for level, kind in enumerate(config.down_block_types) if kind.startswith("Attn")]
    return restore(
        model.unet.state_dict(),
        num_levels=len(config.block_out_channels),
        layers_per_block=config.layers_per_block,
        attention_levels=attends,
        head_dim=config.attention_head_dim,
    )


def architecture_of(content: Content, given: PaletteOptions) -> Architecture:
    """From the shapes of the tensors."""
    num_blocks, per_level = depth(content.tensors, f"{PREFIX}input_blocks"), given.res_blocks + 1
    if num_blocks % per_level:
        raise UserError(
            f"{content.path}: {num_blocks} input blocks are not whole levels of {given.res_blocks} residual blocks; "
            "give their number: snapshot.checkpoint: {res_blocks: NUMBER}"
        )
    first = [f"{PREFIX}input_blocks.{1 + level * per_level}" for level in range(num_blocks // per_level)]
    return Architecture.of(
        {
            "block_out_channels": [shape(content, f"{block}.0.out_layers.3.weight", 4)[0] for block in first],
            "layers_per_block": given.res_blocks,
            "attention_levels": [
                level for level, block in enumerate(first) if f"{block}.1.qkv.weight" in content.tensors
            ],
            "attention_head_dim": given.num_head_channels,
            "norm_num_groups": NORM_GROUPS,
            "dropout": DROPOUT,
            "prediction_type": "epsilon",
            "conditioning": "noise_level",
            "hidden_as": "noise",
            "sampler": "ancestral",
            "num_train_timesteps": given.test_n_timestep,  # sampling takes every step of its own schedule
            "sampling_steps": given.test_n_timestep,
        },
        image_size=given.image_size,
        num_channels=3,
    )


def shapes_of(architecture: Architecture, image_size: int) -> dict[str, tuple[int, ...]]:
    """The shape that each of the network's tensors must have."""
    with torch.device("meta"):
        ours = UNet2DModel.from_config(architecture.unet_config(image_size, 3)).state_dict()
    return published_shapes(
        ours,
        num_levels=len(architecture.block_out_channels),
        layers_per_block=architecture.layers_per_block,
        attention_levels=architecture.attention_levels,
    )


def _schedule(num_times: int, start: float, end: float) -> DDPMScheduler:
    return DDPMScheduler(
        num_times,
        beta_start=start,
        beta_end=end,
        beta_schedule="linear",
        prediction_type="epsilon",
        clip_sample=True,
        timestep_spacing="trailing",
    )


def _check_schedule(content: Content, train: DDPMScheduler, gammas: Tensor, given: PaletteOptions) -> None:
    if not torch.allclose(train.alphas_cumprod, gammas.float(), rtol=1e-3, atol=1e-6):
        raise UserError(
            f"{content.path}: was trained by another schedule than the linear one from {given.linear_start:g} to "
            f"{given.linear_end:g}; give its ends: snapshot.checkpoint: {{linear_start: NUMBER, linear_end: NUMBER}}"
        )
