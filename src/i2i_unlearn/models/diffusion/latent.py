"""Latent inpainting directories: a U-Net of nine input channels between the halves of a frozen VAE.

Rombach, Blattmann, Lorenz, Esser, Ommer, "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022,
arXiv:2112.10752.

    input of the U-Net = (noisy latents, mask, latents of T(x))    in diffusers' order; mask: 1 = hidden

    E  conv_in, down blocks, middle block of the U-Net
    D  its up blocks and output, and the VAE's decoder; VAE, time embedding and text embedding stay frozen

A directory as diffusers' StableDiffusionInpaintPipeline writes it is read: unet/, vae/, scheduler/. There is no text
encoder here: the empty prompt's embedding is next to them in `empty_prompt.safetensors`.
Shape letters: B batch, C channels (of images or latents), H, W pixels or cells of the latents, N times, L tokens of the
prompt, D their size.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.diffusion import unet as diffusion_unet
from i2i_unlearn.models.diffusion.schedule import (
    PREDICTIONS,
    add_noise,
    clean_from,
    draw_times,
    level_at,
    make_sampler,
    noise_of,
    streams_from,
    what_to_predict,
)
from i2i_unlearn.models.diffusion.settings import check_steps, read_library_config, read_schedule
from i2i_unlearn.models.operators import hide
from i2i_unlearn.models.own_weights import seeded
from i2i_unlearn.models.preprocessor import FILE as PREPROCESSOR
from i2i_unlearn.models.preprocessor import Preprocessor, read_fixed
from i2i_unlearn.models.randomness import drawn
from i2i_unlearn.models.whole import weights_in
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import read_json, write_json
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

ensure_torchvision()  # before diffusers, which imports it by way of transformers
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel  # noqa: E402

PROMPT = "empty_prompt.safetensors"
PROMPT_KEY = "prompt_embeds"
_HOW_TO_MAKE_IT = (
    f"make it once where the text encoder is: save_file({{'{PROMPT_KEY}': text_encoder(tokenizer('', "
    "padding='max_length', return_tensors='pt').input_ids)[0].contiguous()}, "
    f"'{PROMPT}')  (safetensors.torch)"
)


@dataclass(frozen=True, kw_only=True)
class LatentSettings:
    """What the diffusers parts of the directory do not say; a directory without config.json gets these values."""

    sampler: str = "ddim"
    sampling_steps: int = 20


class LatentInpainter(nn.Module):
    """A latent diffusion model that fills what T hides."""

    family: ClassVar[str] = "latent_diffusion"

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        scheduler: Any,
        prompt_1LD: Tensor,
        settings: LatentSettings,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.vae = vae.requires_grad_(False)
        self.scheduler = scheduler
        self.settings = settings
        self.cell_size: int = 2 ** (len(vae.config.block_out_channels) - 1)
        """Pixels, height and width, of a cell of the latents."""
        side = unet.config.sample_size
        self._latent_size: tuple[int, int] = (side, side) if isinstance(side, int) else tuple(side)
        self.image_size = (self._latent_size[0] * self.cell_size, self._latent_size[1] * self.cell_size)
        self.num_channels: int = vae.config.in_channels
        self.prompt_1LD: Tensor
        self.preprocessor: Preprocessor | None = None
        self.levels_N: Tensor
        self.register_buffer("prompt_1LD", prompt_1LD)
        self.register_buffer("levels_N", scheduler.alphas_cumprod.clone(), persistent=False)

    # --- E, D and what is made of them ---

    def draw(self, num: int, generator: torch.Generator, *, emphasis: float = 0.0) -> tuple[Tensor, ...]:
        """Time (B,) and noise of the latents' shape. The density of the time: diffusion_schedule.draw_times."""
        time_B = draw_times(num, len(self.levels_N), generator, emphasis=emphasis)
        noise_BCHW = drawn(num, generator, lambda rows: torch.randn(rows, *self._latent_shape, generator=generator))
        return time_B, noise_BCHW

    def encode(self, images_BCHW: Tensor, visible_BHW: Tensor, draws: tuple[Tensor, ...] = ()) -> Embedding:
        """E(T(x)) at the times of `draws`; without them where sampling starts, with one noise for all images."""
        given_BCHW = self._condition(images_BCHW, visible_BHW)
        if draws:
            clean_BCHW = self._to_latents(images_BCHW)
        else:  # sampling starts from noise alone: hidden pixels must not shine through
            draws, clean_BCHW = self._start(len(images_BCHW), images_BCHW.device), given_BCHW[:, 1:]
        time_B, noise_BCHW = draws
        level_B = level_at(self.levels_N, time_B)
        noisy_BCHW = add_noise(clean_BCHW, noise_BCHW, level_B)
        maps = self._maps(noisy_BCHW, given_BCHW, time_B)
        # In full precision: distances of small differences are taken of them.
        return Embedding(tuple(feature.float() for feature in maps), None, (time_B, level_B, noisy_BCHW))

    def decode(self, embedding: Embedding, visible_BHW: Tensor) -> Tensor:
        """D(e): the clean image predicted at the embedding's time, as the VAE paints it."""
        time_B, level_B, noisy_BCHW = embedding.context
        predicted_BCHW = self._decoded(embedding.maps, time_B)
        return self._to_images(clean_from(predicted_BCHW, noisy_BCHW, level_B, self._prediction))

    def complete(self, images_BCHW: Tensor, visible_BHW: Tensor, *, generator: torch.Generator) -> Tensor:
        """Sample the latents from noise, step by step; paste visible pixels.

        Each image has a random stream of its own, drawn in order from `generator`: batches may be cut as one likes.
        """
        streams = streams_from(generator, len(images_BCHW))
        given_BCHW = self._condition(images_BCHW, visible_BHW)
        state_BCHW = noise_of(self._latent_shape, streams).to(images_BCHW)
        # Latents are not pixels: they are not clipped, whatever the directory's scheduler was written for.
        scheduler = make_sampler(self.scheduler, self.settings.sampler, self.settings.sampling_steps, clip_sample=False)
        for time in scheduler.timesteps:
            time_B = time.to(images_BCHW.device).float().expand(len(images_BCHW))
            predicted_BCHW = self._decoded(self._maps(state_BCHW, given_BCHW, time_B), time_B)
            drawn = {} if self.settings.sampler == "ddim" else {"generator": streams}
            state_BCHW = scheduler.step(predicted_BCHW, int(time), state_BCHW, **drawn).prev_sample
        filled_BCHW = self._to_images(state_BCHW).clamp(-1, 1)
        return torch.where(visible_BHW.unsqueeze(1), images_BCHW, filled_BCHW)

    def training_loss(
        self,
        images_BCHW: Tensor,
        visible_BHW: Tensor,
        *,
        generator: torch.Generator,
        truth_BCHW: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the prediction over the cells that hide a pixel, (B,)."""
        return self._loss(images_BCHW, visible_BHW, self.draw(len(images_BCHW), generator), truth_BCHW)

    def loss_at(self, images_BCHW: Tensor, visible_BHW: Tensor, share: float, *, generator: torch.Generator) -> Tensor:
        """`training_loss` (B,) at one time for all images: `share` of the schedule, 1 = where sampling starts."""
        time_B, noise_BCHW = self.draw(len(images_BCHW), generator)
        time_B = torch.full_like(time_B, round(share * (len(self.levels_N) - 1)))
        return self._loss(images_BCHW, visible_BHW, (time_B, noise_BCHW), None)

    def _loss(
        self, images_BCHW: Tensor, visible_BHW: Tensor, drawn: tuple[Tensor, ...], truth_BCHW: Tensor | None
    ) -> Tensor:
        time_B, noise_BCHW = (part.to(images_BCHW.device) for part in drawn)
        whole_BCHW = images_BCHW
        if truth_BCHW is not None:
            whole_BCHW = torch.where(visible_BHW.unsqueeze(1), images_BCHW, truth_BCHW)
        clean_BCHW = self._to_latents(whole_BCHW)
        level_B = level_at(self.levels_N, time_B)
        noisy_BCHW = add_noise(clean_BCHW, noise_BCHW, level_B)
        maps = self._maps(noisy_BCHW, self._condition(images_BCHW, visible_BHW), time_B)
        target_BCHW = what_to_predict(clean_BCHW, noise_BCHW, level_B, self._prediction)
        squared_BHW = (self._decoded(maps, time_B) - target_BCHW).square().mean(1)
        hidden_BHW = functional.max_pool2d((~visible_BHW).float().unsqueeze(1), self.cell_size).squeeze(1)
        return (squared_BHW * hidden_BHW).flatten(1).sum(1) / hidden_BHW.flatten(1).sum(1).clamp(min=1)

    def encoder_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """conv_in, down blocks and middle block of the U-Net."""
        return diffusion_unet.encoder_parameters(self.unet, "unet")

    # --- parts ---

    @property
    def _prediction(self) -> str:
        name: str = self.scheduler.config.prediction_type
        return name

    @property
    def _latent_shape(self) -> tuple[int, int, int]:
        return self.vae.config.latent_channels, *self._latent_size

    def _maps(self, noisy_BCHW: Tensor, given_BCHW: Tensor, time_B: Tensor) -> tuple[Tensor, ...]:
        joined_BCHW = torch.cat((noisy_BCHW, given_BCHW), dim=1)
        return diffusion_unet.encode(self.unet, joined_BCHW, time_B, self._prompt(len(joined_BCHW)))

    def _decoded(self, maps: tuple[Tensor, ...], time_B: Tensor) -> Tensor:
        return diffusion_unet.decode(self.unet, maps, time_B, self._prompt(len(time_B))).float()

    def _prompt(self, num: int) -> Tensor:
        return self.prompt_1LD.expand(num, -1, -1)

    @torch.no_grad()
    def _condition(self, images_BCHW: Tensor, visible_BHW: Tensor) -> Tensor:
        """(mask, latents of T(x)), given together with the noisy latents; the mask is shrunk as in diffusers."""
        hidden_B1HW = (~visible_BHW).to(images_BCHW.dtype).unsqueeze(1)
        mask_B1HW = functional.interpolate(hidden_B1HW, size=self._latent_size)
        return torch.cat((mask_B1HW, self._to_latents(hide(images_BCHW, visible_BHW))), dim=1)

    @torch.no_grad()
    def _to_latents(self, images_BCHW: Tensor) -> Tensor:
        """The mean of the VAE's Gaussian: nothing is drawn."""
        latents_BCHW: Tensor = self.vae.encode(images_BCHW).latent_dist.mode()
        return latents_BCHW.float() * self.vae.config.scaling_factor

    def _to_images(self, latents_BCHW: Tensor) -> Tensor:
        images_BCHW: Tensor = self.vae.decode(latents_BCHW / self.vae.config.scaling_factor).sample
        return images_BCHW.float()

    def _start(self, num: int, device: torch.device) -> tuple[Tensor, ...]:
        """Draws that are always the same: the last time, and one noise for all images."""
        noise_1CHW = torch.randn(1, *self._latent_shape, generator=torch.Generator().manual_seed(0))
        last_1 = torch.tensor([len(self.levels_N) - 1.0])
        return last_1.to(device).expand(num), noise_1CHW.to(device).expand(num, -1, -1, -1)

    # --- making, loading, saving ---

    @classmethod
    def create(
        cls, architecture: Mapping[str, Any], *, image_size: int, num_channels: int, generator: torch.Generator
    ) -> Self:
        """There is nothing to start from.

        Raises:
            UserError: always: a VAE is needed, which no stage trains.
        """
        raise UserError(
            "pretrain.family=latent_diffusion cannot be made from scratch, for it needs a trained VAE; name a model "
            "directory in snapshot.source, or use the family diffusion"
        )

    @classmethod
    def load_architecture(cls, folder: str | Path, *, generator: torch.Generator) -> Self:
        """The U-Net's architecture with new random weights; VAE and prompt, which no stage trains, are kept."""
        parts = _read_parts(Path(folder))
        with seeded(generator):
            unet = UNet2DConditionModel.from_config(read_library_config(Path(folder) / "unet" / "config.json"))
        return _checked(cls(unet, *parts), folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a model directory: ours, or one that diffusers wrote (without config.json) with our file of the prompt.

        Raises:
            UserError: incomplete, damaged, or with parts that are not supported.
        """
        parts = _read_parts(Path(folder))
        return _checked(cls(_pretrained(UNet2DConditionModel, Path(folder) / "unet"), *parts), folder)

    def save(self, folder: str | Path) -> None:
        """Write config.json, unet/, vae/, scheduler/ and the prompt: diffusers opens the parts by `from_pretrained`."""
        folder = Path(folder)
        self.unet.save_pretrained(folder / "unet")
        self.vae.save_pretrained(folder / "vae")
        self.scheduler.save_pretrained(folder / "scheduler")
        save_file({PROMPT_KEY: self.prompt_1LD.contiguous()}, folder / PROMPT)
        write_json(folder / "config.json", {"family": self.family, "schema_version": 1, **asdict(self.settings)})
        if self.preprocessor is not None:
            write_json(folder / PREPROCESSOR, dict(self.preprocessor.content))


def _read_parts(folder: Path) -> tuple[Any, Any, Tensor, LatentSettings]:
    """VAE, schedule, prompt and settings of a directory."""
    _check_sample_size(folder / "unet" / "config.json")
    prompt_path = folder / PROMPT
    if not prompt_path.is_file():
        raise UserError(f"{folder}: no {PROMPT} in it, the embedding of the empty prompt; {_HOW_TO_MAKE_IT}")
    prompt = load_file(prompt_path)
    if set(prompt) != {PROMPT_KEY} or prompt[PROMPT_KEY].dim() != 3 or len(prompt[PROMPT_KEY]) != 1:  # noqa: PLR2004
        raise UserError(f"{prompt_path}: must hold one tensor {PROMPT_KEY} (1, tokens, size); {_HOW_TO_MAKE_IT}")
    scheduler = DDPMScheduler.from_config(read_schedule(folder / "scheduler" / "scheduler_config.json"))
    if (found := scheduler.config.prediction_type) not in PREDICTIONS:
        raise UserError(f"{folder}/scheduler: prediction_type={found!r} is not known; {' | '.join(PREDICTIONS)} are")
    settings = _settings(folder)
    check_steps(settings.sampling_steps, scheduler.config.num_train_timesteps, f"{folder}/config.json")
    return _pretrained(AutoencoderKL, folder / "vae"), scheduler, prompt[PROMPT_KEY].float(), settings


def _check_sample_size(path: Path) -> None:
    side = read_library_config(path).get("sample_size")
    sides = side if isinstance(side, list) and len(side) == 2 else [side]  # noqa: PLR2004
    if not all(isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in sides):
        raise UserError(
            f"{path}: sample_size={side!r} does not say for which images the U-Net was trained; write the height and "
            "width of its latents, for example [64, 64] for 512 x 512 pixels with a VAE of four levels"
        )


def _settings(folder: Path) -> LatentSettings:
    path = folder / "config.json"
    if not path.is_file():
        return LatentSettings()
    content = {key: value for key, value in read_json(path).items() if key not in ("family", "schema_version")}
    try:
        settings = LatentSettings(**content)
    except TypeError as error:  # an unknown key
        raise UserError(f"{path}: {error}; remove it") from None
    if settings.sampler not in ("ddim", "ancestral") or type(settings.sampling_steps) is not int:
        raise UserError(f"{path}: sampler must be ddim or ancestral and sampling_steps a whole number; found {content}")
    return settings


def _pretrained(kind: Any, folder: Path) -> Any:
    """By the library's own reader, which knows the names that older versions wrote."""
    read_library_config(folder / "config.json")  # a missing file is told in our words
    _, variant = weights_in(folder, "diffusion_pytorch_model")
    model, info = kind.from_pretrained(
        folder,
        variant=variant,
        local_files_only=True,
        use_safetensors=True,
        torch_dtype=torch.float32,
        low_cpu_mem_usage=False,  # would need another package
        output_loading_info=True,
    )
    model.register_to_config(_name_or_path="")  # else the folder's path is saved with the model
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise UserError(f"{folder}: missing tensors: {len(missing)}, first {missing[0]}; fetch the directory again")
    if unused := sorted(info["unexpected_keys"]):
        raise UserError(
            f"{folder}: holds tensors that {kind.__name__} does not have and that would be left out: {len(unused)}, "
            f"first {unused[0]}; save the model without them, or merge them"
        )
    return model


def _checked(model: LatentInpainter, folder: str | Path) -> Any:
    """Refuse a U-Net that does not fit VAE and prompt."""
    where = f"{folder}/unet/config.json"
    config, channels = model.unet.config, model.vae.config.latent_channels
    for name in ("shift_factor", "latents_mean", "latents_std"):
        if (found := getattr(model.vae.config, name, None)) is not None:
            raise UserError(
                f"{folder}/vae/config.json: {name}={found!r} is not supported (latents are scaled by scaling_factor "
                "alone, as in Stable Diffusion's inpainting); use such a VAE"
            )
    if config.in_channels != 2 * channels + 1:
        raise UserError(
            f"{where}: in_channels={config.in_channels}, but latent inpainting needs {2 * channels + 1} (noisy "
            "latents, mask, masked image); use a U-Net made for inpainting"
        )
    if config.cross_attention_dim != model.prompt_1LD.shape[-1]:
        raise UserError(
            f"{folder}/{PROMPT}: size {model.prompt_1LD.shape[-1]}, but the U-Net's cross_attention_dim is "
            f"{config.cross_attention_dim}; take the embedding from the text encoder the U-Net was trained with"
        )
    diffusion_unet.check_parts(model.unet, where)
    channels, size = model.num_channels, model.image_size
    model.preprocessor = read_fixed(folder, num_channels=channels, image_size=size, mean=0.5, deviation=0.5)
    return model
