"""What the speed of the unlearning loop is measured on: a family's teacher, images, operator and settings.

Weights are random and the images are the embedded digits: neither matters for the time of a step, their sizes do. These
are the quality benchmark's.
"""

import copy
import io
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.gpu_cases import Watcher
from benchmarks.quality.settings import load_settings
from i2i_unlearn.config.sections import PretrainConfig, UnlearnConfig
from i2i_unlearn.data.importers.embedded import EMBEDDED
from i2i_unlearn.method.noise import Noise, fit_noise
from i2i_unlearn.method.objectives import make_objective
from i2i_unlearn.method.objectives.base import Objective, Settings, Targets
from i2i_unlearn.method.targets import TeacherTargets
from i2i_unlearn.models import family_named
from i2i_unlearn.models.operators import Operator, make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.support.device import pick_device
from i2i_unlearn.training.engine import train
from i2i_unlearn.training.frozen_stem import fixed_stems
from i2i_unlearn.training.run import schedule_of
from i2i_unlearn.training.sampling import Sampler, single_pool

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Setting:
    """One family's teacher and all that a run of unlearning needs besides it."""

    config: UnlearnConfig
    teacher: Any
    """Random weights, frozen, on the device."""
    operator: Operator
    images: Mapping[str, Tensor]
    """Sets `forget` and `retain`: uint8 (num, C, H, W) on the device."""
    noise: Noise

    @property
    def device(self) -> torch.device:
        return self.images["forget"].device

    def student(self) -> Any:
        """A fresh student: the teacher's weights, trainable."""
        return copy.deepcopy(self.teacher).requires_grad_(True)

    def objective(self) -> Objective:
        """The objective of the settings."""
        return make_objective(self.config.objective, Settings(alpha=self.config.alpha, seed=self.config.seed))

    def sampler(self, *, stems: bool = True) -> Sampler:
        """The product's source of batches; it has made what the frozen stem of E gives, if `stems`."""
        size = self.config.batch_size
        pools = {name: single_pool(images, size) for name, images in self.images.items()}
        pixels = {name: pool.images_BCHW for name, pool in pools.items()}
        made = fixed_stems(self.teacher, self.operator, pixels) if stems else {}
        return Sampler(pools, self.operator, self.config.seed, self._draw, made)

    def _draw(self, name: str, num: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        emphasis = self.config.timestep_emphasis if name == "forget" else 0.0
        draws: tuple[Tensor, ...] = self.teacher.draw(num, generator, emphasis=emphasis)
        return draws

    def targets(self) -> TeacherTargets:
        """The product's targets, nothing cached yet."""
        return TeacherTargets(
            self.teacher,
            self.operator,
            self.noise,
            self.images,
            seed=self.config.seed,
            num_noise_draws=self.config.num_noise_draws,
            cache_bytes=self.config.cache_bytes,
        )


def params_of(family: str, data: str = "digits") -> Mapping[str, Any]:
    """The content of params.yaml for a family with the sizes that the quality benchmark gives it on `data`."""
    settings = load_settings(params=ROOT / "params.yaml")
    return settings.sections(family, data, settings.operators[settings.main_operator])


def make_setting(
    params: Mapping[str, Any],
    *,
    num_forget: int = 400,
    num_retain: int = 3600,
    **unlearn: Any,
) -> Setting:
    """The setting of a params.yaml's content, with changes to its section `unlearn`; as many images as in the demo."""
    original = PretrainConfig.from_params(params)
    config = UnlearnConfig.from_params({**params, "unlearn": {**params["unlearn"], **unlearn}})
    device = pick_device(config.device)
    teacher = family_named(original.family).create(
        original.architecture,
        image_size=original.image_size,
        num_channels=original.num_channels,
        generator=generator_for(0, "benchmark"),
    )
    digits = _digits(num_forget + num_retain, original.image_size, original.num_channels).to(device)
    images = {"forget": digits[:num_forget], "retain": digits[num_forget:]}
    _start_codebook(teacher, to_float(digits.cpu()))
    return Setting(
        config,
        teacher.eval().to(device).requires_grad_(False),
        make_operator(config.operator, config.keep_fraction, config.operator_patch_size),
        images,
        fit_noise(to_float(images["forget"].cpu()), covariance="identity", mean="zero", patch_size=0),
    )


def _start_codebook(teacher: Any, images_BCHW: Tensor) -> None:
    """Give a new tokenizer codes: without them all images, and noise, are the same to it."""
    if teacher.family == "vqgan":
        images_BCHW = images_BCHW[:64]
        visible_BHW = torch.ones_like(images_BCHW[:, 0], dtype=torch.bool)
        with torch.no_grad():
            teacher.train().tokenizer_loss(images_BCHW, visible_BHW, generator=generator_for(0, "codebook"))


def _digits(num: int, size: int, num_channels: int) -> Tensor:
    """The first embedded digits, uint8 (num, C, size, size), grey or with equal channels; any will do."""
    pixels = []
    for record in itertools.islice(EMBEDDED["digits"].records(), num):
        with Image.open(io.BytesIO(record.image)) as image:
            pixels.append(np.asarray(image.resize((size, size))))
    return torch.from_numpy(np.stack(pixels)).unsqueeze(1).expand(-1, num_channels, -1, -1).contiguous()


def run_ours(setting: Setting, sampler: Sampler, targets: Targets, num_steps: int) -> list[float]:
    """`num_steps` of the product's loop from the teacher's weights; the total loss of each step."""
    config = setting.config.model_copy(update={"num_steps": num_steps})
    watcher = Watcher()
    train(setting.student(), setting.objective(), sampler, targets, schedule_of(config), watcher, watcher)
    return watcher.totals
