"""Family `diffusion`: a U-Net of diffusers conditioned on T(x), after Palette.

Saharia, Chan, Chang, Lee, Ho, Salimans, Fleet, Norouzi, "Palette: Image-to-Image Diffusion Models", SIGGRAPH 2022,
arXiv:2111.05826.

    input of the U-Net = (condition, noisy image)    the condition first
    condition          = visible pixels; grey, or noise (Palette), where they are hidden
    noisy image        = x_t where pixels are hidden; clean where they are visible

    E  conv_in, down blocks, middle block; its skip maps and its output are the embedding
    D  up blocks and output; the time embedding serves both and is neither's

The blocks of a new model are those onto which the public Palette U-Net maps: residual blocks that change the
resolution, scale-shift norm, attention in the middle (and where asked for), eps 1e-5.
Small models may fold patches of pixels into channels first (`patch_size`), which saves most of the work.
Directories with a vae/ are read by latent.py. Schedule and formulas: schedule.py.
Shape letters: B batch, C channels, H, W pixels, N times.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.diffusion import unet as diffusion_unet
from i2i_unlearn.models.diffusion.schedule import (
    add_noise,
    clean_from,
    draw_times,
    level_at,
    make_sampler,
    noise_of,
    streams_from,
    what_to_predict,
)
from i2i_unlearn.models.diffusion.settings import (
    Architecture,
    Settings,
    load_settings,
    read_library_config,
    read_schedule,
)
from i2i_unlearn.models.operators import hide
from i2i_unlearn.models.own_weights import seeded
from i2i_unlearn.models.preprocessor import FILE as PREPROCESSOR
from i2i_unlearn.models.preprocessor import Preprocessor, read_fixed
from i2i_unlearn.models.randomness import drawn
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import write_json
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

ensure_torchvision()  # before diffusers, which imports it by way of transformers
from diffusers import DDPMScheduler, UNet2DModel  # noqa: E402


class DiffusionInpainter(nn.Module):
    """A diffusion model of pixels that fills what T hides."""

    family: ClassVar[str] = "diffusion"

    def __init__(self, unet: UNet2DModel, scheduler: Any, settings: Settings, sampling_scheduler: Any = None) -> None:
        """`sampling_scheduler`, where given, is another noise schedule to sample with (Palette has two)."""
        super().__init__()
        self.unet = unet
        self.scheduler = scheduler
        self.sampling_scheduler = sampling_scheduler
        self.settings = settings
        self.image_size = settings.image_size
        self.num_channels = settings.num_channels
        self.preprocessor: Preprocessor | None = None
        self.levels_N: Tensor
        self.register_buffer("levels_N", scheduler.alphas_cumprod.clone(), persistent=False)

    # --- E, D and what is made of them ---

    def draw(self, num: int, generator: torch.Generator, *, emphasis: float = 0.0) -> tuple[Tensor, ...]:
        """Time (B,) and noise (B, C, H, W) of each image; where the condition hides by noise, that too.

        The density of the time: diffusion_schedule.draw_times.
        """
        shape = (self.num_channels, *self.image_size)
        continuous = self.settings.conditioning == "noise_level"
        time_B = draw_times(num, len(self.levels_N), generator, emphasis=emphasis, continuous=continuous)
        num_noises = 1 + (self.settings.hidden_as == "noise")
        noises = [
            drawn(num, generator, lambda rows: torch.randn(rows, *shape, generator=generator))
            for _ in range(num_noises)
        ]
        return (time_B, *noises)

    def encode(self, images_BCHW: Tensor, visible_BHW: Tensor, draws: tuple[Tensor, ...] = ()) -> Embedding:
        """E(T(x)) at the times of `draws`; without them where sampling starts, with one noise for all images."""
        if not draws:  # sampling starts from noise alone: hidden pixels must not shine through
            draws, images_BCHW = self._start(len(images_BCHW), images_BCHW.device), hide(images_BCHW, visible_BHW)
        time_B, noise_BCHW, *fill = draws
        level_B = level_at(self.levels_N, time_B)
        condition_BCHW = self._condition(images_BCHW, visible_BHW, *fill)
        noisy_BCHW = _keep(visible_BHW, images_BCHW, add_noise(images_BCHW, noise_BCHW, level_B))
        signal_B = level_B if self.settings.conditioning == "noise_level" else time_B
        maps = diffusion_unet.encode(self.unet, self._folded(condition_BCHW, noisy_BCHW), signal_B)
        # In full precision: distances of small differences are taken of them.
        return Embedding(tuple(feature.float() for feature in maps), None, (signal_B, level_B, noisy_BCHW))

    def decode(self, embedding: Embedding, visible_BHW: Tensor) -> Tensor:
        """D(e): the clean image predicted at the embedding's time; visible pixels, which no noise covers, as given."""
        signal_B, level_B, noisy_BCHW = embedding.context
        predicted_BCHW = self._unfolded(diffusion_unet.decode(self.unet, embedding.maps, signal_B))
        return _keep(visible_BHW, noisy_BCHW, clean_from(predicted_BCHW, noisy_BCHW, level_B, self._prediction))

    def complete(self, images_BCHW: Tensor, visible_BHW: Tensor, *, generator: torch.Generator) -> Tensor:
        """Sample what is hidden from noise, step by step; keep visible pixels.

        Each image has a random stream of its own, drawn in order from `generator`: batches may be cut as one likes.
        """
        streams = streams_from(generator, len(images_BCHW))
        start_BCHW = noise_of(images_BCHW.shape[1:], streams).to(images_BCHW)
        fill = (start_BCHW,) if self.settings.hidden_as == "noise" else ()
        condition_BCHW = self._condition(images_BCHW, visible_BHW, *fill)
        schedule = self.sampling_scheduler or self.scheduler
        scheduler = make_sampler(schedule, self.settings.sampler, self.settings.sampling_steps)
        state_BCHW = _keep(visible_BHW, images_BCHW, start_BCHW)
        for time in scheduler.timesteps:
            signal = scheduler.alphas_cumprod[time] if self.settings.conditioning == "noise_level" else time
            predicted_BCHW = self._predict(condition_BCHW, state_BCHW, signal)
            drawn = {} if self.settings.sampler == "ddim" else {"generator": streams}
            after_BCHW = scheduler.step(predicted_BCHW, int(time), state_BCHW, **drawn).prev_sample
            state_BCHW = _keep(visible_BHW, images_BCHW, after_BCHW)
        return _keep(visible_BHW, images_BCHW, state_BCHW.clamp(-1, 1))

    def training_loss(
        self,
        images_BCHW: Tensor,
        visible_BHW: Tensor,
        *,
        generator: torch.Generator,
        truth_BCHW: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the prediction over hidden pixels, (B,); eq. 1 with the loss inside the hole alone."""
        drawn = self.draw(len(images_BCHW), generator)
        return self._loss(images_BCHW, visible_BHW, drawn, truth_BCHW)

    def loss_at(self, images_BCHW: Tensor, visible_BHW: Tensor, share: float, *, generator: torch.Generator) -> Tensor:
        """`training_loss` (B,) at one time for all images: `share` of the schedule, 1 = where sampling starts."""
        time_B, *noises = self.draw(len(images_BCHW), generator)
        time_B = torch.full_like(time_B, round(share * (len(self.levels_N) - 1)))
        return self._loss(images_BCHW, visible_BHW, (time_B, *noises), None)

    def _loss(
        self, images_BCHW: Tensor, visible_BHW: Tensor, drawn: tuple[Tensor, ...], truth_BCHW: Tensor | None
    ) -> Tensor:
        time_B, noise_BCHW, *fill = (part.to(images_BCHW.device) for part in drawn)
        clean_BCHW = images_BCHW if truth_BCHW is None else truth_BCHW
        level_B = level_at(self.levels_N, time_B)
        condition_BCHW = self._condition(images_BCHW, visible_BHW, *fill)
        noisy_BCHW = _keep(visible_BHW, images_BCHW, add_noise(clean_BCHW, noise_BCHW, level_B))
        signal_B = level_B if self.settings.conditioning == "noise_level" else time_B
        predicted_BCHW = self._predict(condition_BCHW, noisy_BCHW, signal_B)
        target_BCHW = what_to_predict(clean_BCHW, noise_BCHW, level_B, self._prediction)
        hidden_BHW = ~visible_BHW
        squared_BHW = (predicted_BCHW - target_BCHW).square().mean(1) * hidden_BHW
        return squared_BHW.flatten(1).sum(1) / hidden_BHW.flatten(1).sum(1).clamp(min=1)

    def encoder_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """conv_in, down blocks and middle block."""
        return diffusion_unet.encoder_parameters(self.unet, "unet")

    # --- parts ---

    @property
    def _prediction(self) -> str:
        name: str = self.scheduler.config.prediction_type
        return name

    def _condition(self, images_BCHW: Tensor, visible_BHW: Tensor, fill_BCHW: Tensor | None = None) -> Tensor:
        """T(x) as the U-Net sees it."""
        return hide(images_BCHW, visible_BHW) if fill_BCHW is None else _keep(visible_BHW, images_BCHW, fill_BCHW)

    def _predict(self, condition_BCHW: Tensor, noisy_BCHW: Tensor, signal_B: Tensor) -> Tensor:
        """The U-Net's output. `signal` is what it is told of the noise: time or level; one may serve all images."""
        signal_B = signal_B.to(noisy_BCHW.device).expand(len(noisy_BCHW))
        maps = diffusion_unet.encode(self.unet, self._folded(condition_BCHW, noisy_BCHW), signal_B)
        return self._unfolded(diffusion_unet.decode(self.unet, maps, signal_B))

    def _folded(self, condition_BCHW: Tensor, noisy_BCHW: Tensor) -> Tensor:
        """The U-Net's input; pixels of a patch as channels."""
        joined_BCHW = functional.pixel_unshuffle(
            torch.cat((condition_BCHW, noisy_BCHW), dim=1), self.settings.patch_size
        )
        # Channels last: the convolutions of a small U-Net run faster so, on CPUs and GPUs.
        return joined_BCHW.contiguous(memory_format=torch.channels_last)

    def _unfolded(self, predicted_BCHW: Tensor) -> Tensor:
        """The U-Net's output as pixels, in full precision: the formulas subtract what is nearly equal."""
        return functional.pixel_shuffle(predicted_BCHW.float(), self.settings.patch_size)

    def _start(self, num: int, device: torch.device) -> tuple[Tensor, ...]:
        """Draws that are always the same: the last time, and one noise for all images."""
        generator = torch.Generator().manual_seed(0)
        _, *noises = self.draw(1, generator)
        last = float(len(self.levels_N) - 1)
        return tuple(part.to(device).expand(num, *part.shape[1:]) for part in (torch.tensor([last]), *noises))

    # --- making, loading, saving ---

    @classmethod
    def create(
        cls, architecture: Mapping[str, Any], *, image_size: int, num_channels: int, generator: torch.Generator
    ) -> Self:
        """Random weights. `architecture` holds fields of diffusion_settings.Architecture.

        Raises:
            UserError: unknown keys, or sizes that do not fit each other.
        """
        made = Architecture.of(architecture, image_size=image_size, num_channels=num_channels)
        unet = _random_unet(made.unet_config(image_size, num_channels), generator)
        scheduler = DDPMScheduler.from_config(made.scheduler_config())
        return cls(unet, scheduler, made.settings(image_size, num_channels))

    @classmethod
    def load_architecture(cls, folder: str | Path, *, generator: torch.Generator) -> Self:
        """The architecture and schedule of a model directory with new random weights."""
        unet_config, *rest = _read_parts(Path(folder))
        return cls(_random_unet(unet_config, generator), *rest)._with_preprocessor(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a model directory.

        Raises:
            UserError: incomplete, damaged, or with parts that are not supported.
        """
        unet_config, *rest = _read_parts(Path(folder))
        model = cls(_unet(unet_config, f"{folder}/unet/config.json"), *rest)
        diffusion_unet.read_weights(model.unet, Path(folder) / "unet")
        return model._with_preprocessor(folder)

    def _with_preprocessor(self, folder: str | Path) -> Self:
        channels, size = self.num_channels, self.image_size
        self.preprocessor = read_fixed(folder, num_channels=channels, image_size=size, mean=0.5, deviation=0.5)
        return self

    def save(self, folder: str | Path) -> None:
        """Write config.json, unet/ and scheduler/: diffusers opens the parts by `from_pretrained`."""
        folder = Path(folder)
        self.unet.save_pretrained(folder / "unet")
        self.scheduler.save_pretrained(folder / "scheduler")
        if self.sampling_scheduler is not None:
            self.sampling_scheduler.save_pretrained(folder / "sampling_scheduler")
        write_json(folder / "config.json", {"family": self.family, "schema_version": 1, **asdict(self.settings)})
        if self.preprocessor is not None:
            write_json(folder / PREPROCESSOR, dict(self.preprocessor.content))


def _keep(visible_BHW: Tensor, images_BCHW: Tensor, others_BCHW: Tensor) -> Tensor:
    """Visible pixels of the images; the others' elsewhere."""
    return torch.where(visible_BHW.unsqueeze(1), images_BCHW, others_BCHW)


def _unet(config: Mapping[str, Any], where: str) -> UNet2DModel:
    try:
        unet = UNet2DModel.from_config(config)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}; correct it") from None
    diffusion_unet.check_parts(unet, where)
    return unet


def _random_unet(config: Mapping[str, Any], generator: torch.Generator) -> UNet2DModel:
    with seeded(generator):
        return _unet(config, "pretrain.architecture")


def _read_parts(folder: Path) -> tuple[Any, Any, Settings, Any]:
    """Of a directory: the U-Net's config, the schedule, our settings, and the schedule to sample with (or None)."""
    settings = load_settings(folder)
    unet_config = read_library_config(folder / "unet" / "config.json")
    settings.check_unet(unet_config, folder)
    scheduler = DDPMScheduler.from_config(read_schedule(folder / "scheduler" / "scheduler_config.json"))
    other = folder / "sampling_scheduler" / "scheduler_config.json"
    sampling = DDPMScheduler.from_config(read_schedule(other)) if other.is_file() else None
    settings.check_schedule(scheduler, sampling, folder)
    return unet_config, scheduler, settings, sampling
