"""Settings of the family `diffusion`: the keys of `pretrain.architecture`, and those of its config.json."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from i2i_unlearn.models.diffusion.schedule import PREDICTIONS
from i2i_unlearn.models.directory import read_config
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import read_json

CHOICES = {
    "prediction_type": PREDICTIONS,
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "conditioning": ("timestep", "noise_level"),
    "hidden_as": ("grey", "noise"),
    "sampler": ("ddim", "ancestral"),
}
_BY_BETAS = re.compile(
    "(DDPM|DDIM|PNDM|(LMS|Euler|EulerAncestral|Heun|KDPM2|KDPM2Ancestral)Discrete|DPMSolver(Single|Multi)step|"
    "DEISMultistep|UniPCMultistep)Scheduler"
)
"""diffusers' schedulers of which the noise is given by `beta_schedule`, whichever way they step."""
_NORM_EPS = 1e-5  # Palette's; with 1e-6 its public weights predict something else


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the diffusers parts of a model directory do not say."""

    image_size: tuple[int, int]
    """(height, width) in pixels."""
    num_channels: int
    patch_size: int
    """Pixels, height and width, that are folded into channels before the U-Net; 1 = none (Palette)."""
    conditioning: str
    """What the U-Net is told of the noise: timestep | noise_level (Palette: alpha-bar itself)."""
    hidden_as: str
    """What the condition shows where pixels are hidden: grey | noise (Palette)."""
    sampler: str
    """ddim (no noise between steps) | ancestral (DDPM)."""
    sampling_steps: int

    def check_unet(self, config: Mapping[str, Any], folder: Path) -> None:
        """The U-Net must take condition and noisy image.

        Raises:
            UserError: it does not.
        """
        folded = self.num_channels * self.patch_size**2
        for name, number in {"in_channels": 2 * folded, "out_channels": folded}.items():
            if config.get(name) != number:
                raise UserError(
                    f"{folder}/unet/config.json: {name}={config.get(name)!r}, but num_channels={self.num_channels} and "
                    f"patch_size={self.patch_size} in {folder}/config.json need {number}; correct one of them"
                )
        _check_divides(self.image_size, self.patch_size, len(config["block_out_channels"]), f"{folder}/config.json")

    def check_schedule(self, scheduler: Any, sampling: Any, folder: Path) -> None:
        """Steps must fit the schedule.

        Raises:
            UserError: they do not.
        """
        where = f"{folder}/scheduler/scheduler_config.json"
        if (found := scheduler.config.prediction_type) not in PREDICTIONS:
            raise UserError(f"{where}: prediction_type={found!r} is not known; choose one of: {', '.join(PREDICTIONS)}")
        if sampling is not None and self.conditioning == "timestep":
            raise UserError(
                f"{folder}: sampling_scheduler/ needs conditioning=noise_level: a time of one schedule is not one of "
                "the other; remove it"
            )
        check_steps(self.sampling_steps, (sampling or scheduler).config.num_train_timesteps, f"{folder}/config.json")


def load_settings(folder: Path) -> Settings:
    """From config.json.

    Raises:
        UserError: keys are missing, unknown or have values that are not known.
    """
    where = f"{folder}/config.json"
    content = {key: value for key, value in read_config(folder).items() if key not in ("family", "schema_version")}
    names = {field.name for field in fields(Settings)}
    faults = [f"{name} is missing" for name in sorted(names - set(content))]
    faults += [f"{name} is not a known key" for name in sorted(set(content) - names)]
    faults += _wrong_choices(content)
    size = content.get("image_size")
    if "image_size" in content and not (isinstance(size, list) and len(size) == 2 and all(map(_is_count, size))):  # noqa: PLR2004
        faults.append(f"image_size={size!r} must be height and width in pixels")
    faults += _wrong_counts(Settings, content)
    if faults:
        raise UserError(f"{where}: {'; '.join(faults)}; fetch the directory again")
    return Settings(**{**content, "image_size": tuple(content["image_size"])})


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Keys of `pretrain.architecture`. The defaults make the digits of docs/method.md."""

    block_out_channels: tuple[int, ...] = (32, 64)
    """Channels of each level; the resolution halves between levels."""
    patch_size: int = 1
    """Pixels, height and width, that are folded into channels before the U-Net; 2 makes it four times as fast."""
    layers_per_block: int = 1
    """Residual blocks per level."""
    attention_levels: tuple[int, ...] = ()
    """Levels with attention, counted from 0; the middle block always has it."""
    attention_head_dim: int = 32
    norm_num_groups: int = 8
    dropout: float = 0.0
    num_train_timesteps: int = 1000
    beta_schedule: str = "squaredcos_cap_v2"
    beta_start: float = 0.0001
    """squaredcos_cap_v2 ignores it and beta_end."""
    beta_end: float = 0.02
    prediction_type: str = "v_prediction"
    conditioning: str = "timestep"
    hidden_as: str = "grey"
    sampler: str = "ddim"
    sampling_steps: int = 20

    @classmethod
    def of(cls, keys: Mapping[str, Any], *, image_size: int, num_channels: int) -> Self:
        """From the section's keys.

        Raises:
            UserError: all unknown keys and values of the wrong kind, or sizes that do not fit each other.
        """
        where = "pretrain.architecture"
        known = {field.name for field in fields(cls)}
        faults = [f"{name} is not known to the family diffusion; remove it" for name in sorted(set(keys) - known)]
        lists = {name: keys[name] for name in ("block_out_channels", "attention_levels") if name in keys}
        for name, value in lists.items():
            least = 0 if name == "attention_levels" else 1
            if not isinstance(value, list | tuple) or not all(_is_count(item, least) for item in value):
                faults.append(f"{name}={value!r} must be a list of whole numbers from {least}")
        faults += _wrong_choices(keys)
        faults += _wrong_counts(cls, keys)
        for name in (field.name for field in fields(cls) if field.type is float):
            value = keys.get(name, 0.0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                faults.append(f"{name}={value!r} must be a number from 0 to below 1")
        if faults:
            raise UserError(f"{where}: {'; '.join(faults)}")
        made = cls(**{**keys, **{name: tuple(value) for name, value in lists.items()}})
        made._check_sizes(image_size, where)
        return made

    def _check_sizes(self, image_size: int, where: str) -> None:
        if not self.block_out_channels:
            raise UserError(f"{where}: block_out_channels is empty; give at least one level")
        for level in self.attention_levels:
            if level >= len(self.block_out_channels):
                raise UserError(
                    f"{where}: attention_levels names level {level}, but block_out_channels has "
                    f"{len(self.block_out_channels)}, counted from 0; correct one of them"
                )
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise UserError(
                    f"{where}: block_out_channels={channels} is not a multiple of norm_num_groups="
                    f"{self.norm_num_groups}; change one of them"
                )
        attended = {self.block_out_channels[level] for level in self.attention_levels} | {self.block_out_channels[-1]}
        for channels in sorted(attended):
            if channels % self.attention_head_dim:
                raise UserError(
                    f"{where}: a level with attention has {channels} channels, which is not a multiple of "
                    f"attention_head_dim={self.attention_head_dim}; change one of them (the last level's feed the "
                    "middle block, which always attends)"
                )
        if self.beta_schedule != "squaredcos_cap_v2" and not 0 < self.beta_start <= self.beta_end:
            raise UserError(
                f"{where}: beta_start={self.beta_start} must be above 0 and at most beta_end={self.beta_end}; "
                "change one of them"
            )
        _check_divides((image_size, image_size), self.patch_size, len(self.block_out_channels), where)
        check_steps(self.sampling_steps, self.num_train_timesteps, where)

    def settings(self, image_size: int, num_channels: int) -> Settings:
        """What is written to config.json."""
        return Settings(
            image_size=(image_size, image_size),
            num_channels=num_channels,
            patch_size=self.patch_size,
            conditioning=self.conditioning,
            hidden_as=self.hidden_as,
            sampler=self.sampler,
            sampling_steps=self.sampling_steps,
        )

    def scheduler_config(self) -> dict[str, Any]:
        """For diffusers' DDPMScheduler."""
        return {
            "num_train_timesteps": self.num_train_timesteps,
            "beta_schedule": self.beta_schedule,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "prediction_type": self.prediction_type,
            "clip_sample": True,
        }

    def unet_config(self, image_size: int, num_channels: int) -> dict[str, Any]:
        """For diffusers' UNet2DModel: Palette's blocks."""
        num_levels = len(self.block_out_channels)
        attends = [level in self.attention_levels for level in range(num_levels)]
        return {
            "sample_size": image_size // self.patch_size,
            "in_channels": 2 * num_channels * self.patch_size**2,
            "out_channels": num_channels * self.patch_size**2,
            "block_out_channels": self.block_out_channels,
            "layers_per_block": self.layers_per_block,
            "down_block_types": tuple("AttnDownBlock2D" if a else "ResnetDownsampleBlock2D" for a in attends),
            "up_block_types": tuple("AttnUpBlock2D" if a else "ResnetUpsampleBlock2D" for a in reversed(attends)),
            "downsample_type": "resnet",
            "upsample_type": "resnet",
            "resnet_time_scale_shift": "scale_shift",
            "attention_head_dim": self.attention_head_dim,
            "norm_num_groups": self.norm_num_groups,
            "attn_norm_num_groups": self.norm_num_groups,  # left out, the middle attention would have no norm
            "norm_eps": _NORM_EPS,
            "dropout": self.dropout,
            "flip_sin_to_cos": True,  # cosines first
            "freq_shift": 0,
        }


def read_schedule(path: Path) -> dict[str, Any]:
    """A scheduler_config.json whose levels our samplers compute as the model was trained with.

    Raises:
        UserError: it is missing, is not JSON, or says a schedule that is not known.
    """
    content = read_library_config(path)
    kind = str(content.get("_class_name", "DDPMScheduler"))
    if not _BY_BETAS.fullmatch(kind):
        raise UserError(
            f"{path}: _class_name={kind!r} is not known; schedules of betas are: DDPM, DDIM, PNDM, LMS, Euler, Heun, "
            "DPMSolver, DEIS, UniPC, KDPM2"
        )
    faults = [fault for fault in _wrong_choices(content) if fault.startswith(("beta_schedule", "prediction_type"))]
    for name in ("beta_start", "beta_end"):
        if name in content and not (_is_number(content[name]) and 0 < content[name] < 1):
            faults.append(f"{name}={content[name]!r} must be a number between 0 and 1")
    if "num_train_timesteps" in content and not _is_count(content["num_train_timesteps"]):
        faults.append(f"num_train_timesteps={content['num_train_timesteps']!r} must be a whole number above 0")
    if faults:
        raise UserError(f"{path}: {'; '.join(faults)}; give a model trained with one of these, or correct the file")
    return content


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_library_config(path: Path) -> dict[str, Any]:
    """A config file of diffusers.

    Raises:
        UserError: it is missing or is not JSON.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; fetch the directory again")
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold keys, found {type(content).__name__}; fetch the directory again")
    return content


def _is_count(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _wrong_counts(kind: type[Settings] | type[Architecture], content: Mapping[str, Any]) -> list[str]:
    """Faults of the keys that are whole numbers."""
    names = [field.name for field in fields(kind) if field.type is int and field.name in content]
    return [
        f"{name}={content[name]!r} must be a whole number above 0" for name in names if not _is_count(content[name])
    ]


def _wrong_choices(content: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}={content[name]!r} is not known; choose one of: {', '.join(allowed)}"
        for name, allowed in CHOICES.items()
        if name in content and content[name] not in allowed
    ]


def _check_divides(image_size: tuple[int, int], patch_size: int, num_levels: int, where: str) -> None:
    factor = patch_size * 2 ** (num_levels - 1)
    if any(side % factor for side in image_size):
        raise UserError(
            f"{where}: the image size {image_size[0]}x{image_size[1]} is not a multiple of {factor}, which "
            f"patch_size={patch_size} and {num_levels} levels need; use fewer levels or another size"
        )


def check_steps(steps: int, num_times: int, where: str) -> None:
    """The steps of sampling must divide the schedule's times, so that all are equally long.

    Raises:
        UserError: they do not.
    """
    if num_times % steps:
        raise UserError(
            f"{where}: sampling_steps={steps} does not divide the schedule's {num_times} times; use a divisor"
        )
