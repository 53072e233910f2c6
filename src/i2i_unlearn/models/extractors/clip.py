"""CLIP's image embeddings: what the paper compares completed images with their originals by.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv:2103.00020.
Any CLIP directory that transformers writes, or one on the Hugging Face hub at a fixed commit.
Shape letters: B batch, C channels, H, W pixels, D features.
"""

import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from i2i_unlearn.models.extractors.base import Extractor, three_channels
from i2i_unlearn.models.extractors.source import Source, check_pinned
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import read_json
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

# Of OpenAI's models, for a directory without preprocessor_config.json.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_CHUNK = 25
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


class Clip:
    """The projected image embedding."""

    def __init__(
        self, network: Any, mean: tuple[float, ...], deviation: tuple[float, ...], device: torch.device
    ) -> None:
        """`mean` and `deviation` per channel, of pixels in [0, 1]."""
        self.num_features: int = network.config.projection_dim
        self._side: int = network.config.image_size
        self._network = network.to(device)
        self._mean_C11 = torch.tensor(mean, device=device).view(-1, 1, 1)
        self._deviation_C11 = torch.tensor(deviation, device=device).view(-1, 1, 1)
        self._device = device

    @torch.inference_mode()
    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """As `Extractor`."""
        parts = [self._features(chunk.to(self._device)) for chunk in torch.split(images_BCHW, _CHUNK)]
        return torch.cat(parts).float().cpu()

    def _features(self, images_BCHW: Tensor) -> Tensor:
        pixels_BCHW = (self._centre(images_BCHW).clamp(-1, 1) + 1) / 2
        prepared = (three_channels(pixels_BCHW) - self._mean_C11) / self._deviation_C11
        features: Tensor = self._network(pixel_values=prepared).image_embeds
        return features

    def _centre(self, images_BCHW: Tensor) -> Tensor:
        """The shorter side resized to the network's, then the centre square."""
        height, width = images_BCHW.shape[-2:]
        scale = self._side / min(height, width)
        size = (max(self._side, int(height * scale)), max(self._side, int(width * scale)))
        resized = F.interpolate(images_BCHW, size, mode="bicubic", antialias=True)
        top, left = (size[0] - self._side) // 2, (size[1] - self._side) // 2
        return resized[..., top : top + self._side, left : left + self._side]


def load_clip(source: Source | None, device: torch.device) -> Extractor:
    """Read a CLIP directory, or fetch one from the hub.

    Raises:
        UserError: none is named, it is missing, not pinned (on the hub), not the pinned one, or not a CLIP.
    """
    if source is None:
        raise UserError(
            "evaluate.extractor='clip' does not say which; write clip:FOLDER or clip:OWNER/NAME@REVISION "
            "(for example clip:openai/clip-vit-base-patch32@ and the 40 digits of a commit)"
        )
    ensure_torchvision()  # transformers imports it
    folder = _folder(source)
    check_pinned(folder, source.sha256)
    return Clip(_network(folder, source), *_normalisation(folder), device)


def _folder(source: Source) -> Path:
    folder = Path(source.where)
    if folder.is_dir():
        return folder
    if not _HUB_NAME.fullmatch(source.where):
        raise UserError(f"evaluate.extractor={source.setting!r}: there is no folder {folder}; correct the path")
    if not source.commit:
        raise UserError(
            f"evaluate.extractor={source.setting!r}: there is no folder {folder}; a model of the hub needs "
            f"its commit: clip:{source.where}@REVISION with 40 hex digits"
        )
    from huggingface_hub import snapshot_download

    wanted = ["config.json", "preprocessor_config.json", "model.safetensors"]
    try:
        return Path(snapshot_download(source.where, revision=source.commit, allow_patterns=wanted))
    except Exception as error:  # the hub's client raises many kinds: no network, no such model, no right to it
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"evaluate.extractor={source.setting!r}: not here and cannot be fetched from the hub ({reason}); "
            "name a folder: clip:FOLDER"
        ) from None


def _network(folder: Path, source: Source) -> Any:
    from transformers import CLIPVisionModelWithProjection

    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise UserError(f"evaluate.extractor={source.setting!r}: {folder} has no {name}; fetch the directory again")
    try:
        network, info = CLIPVisionModelWithProjection.from_pretrained(
            folder,
            config=_config(folder, source),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below, in one line
            local_files_only=True,
            use_safetensors=True,
        )
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"evaluate.extractor={source.setting!r}: {folder} cannot be read ({reason}); fetch the directory again"
        ) from None
    misshaped = (name for name, *_ in info["mismatched_keys"])
    faults = sorted({*info["missing_keys"], *misshaped})
    if faults:
        raise UserError(
            f"evaluate.extractor={source.setting!r}: model.safetensors lacks or misshapes tensors: {len(faults)}, "
            f"first {faults[0]}; fetch the directory again"
        )
    return network.eval().requires_grad_(False)


def _config(folder: Path, source: Source) -> Any:
    """Of the vision part alone; in a directory of both parts the size of the projection is next to it."""
    from transformers import CLIPConfig, CLIPVisionConfig

    kind = read_json(folder / "config.json").get("model_type")
    if kind == "clip_vision_model":
        return CLIPVisionConfig.from_pretrained(folder)
    if kind != "clip":
        raise UserError(
            f"evaluate.extractor={source.setting!r}: model_type={kind!r} in {folder} is not a CLIP; give the "
            "directory of a CLIP model"
        )
    both = CLIPConfig.from_pretrained(folder)
    both.vision_config.projection_dim = both.projection_dim
    return both.vision_config


def _normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    path = folder / "preprocessor_config.json"
    settings = read_json(path) if path.is_file() else {}
    return tuple(settings.get("image_mean", _MEAN)), tuple(settings.get("image_std", _DEVIATION))
