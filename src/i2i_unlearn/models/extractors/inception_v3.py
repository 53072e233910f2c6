"""The InceptionV3 of the FID: the network, weights and resizing that every published FID is computed with.

Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, arXiv:1512.00567; as ported from TensorFlow by
torch-fidelity, whose network torchmetrics uses too. Other weights would make another distance, so their digest is fixed
here and no others are taken.
Shape letters: B batch, C channels, H, W pixels, D features, K classes.
"""

import io
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from i2i_unlearn.models.extractors.base import Extractor, three_channels
from i2i_unlearn.models.extractors.source import Source, check_pinned
from i2i_unlearn.models.pixels import to_uint8
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

FILE_NAME = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE_NAME}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_CHUNK = 10  # images at once: they are looked at in 299 x 299 pixels


class InceptionV3:
    """The 2048 features before the classifier, mean over places, and logits without its bias, as in the FID and IS."""

    num_features = 2048
    num_parts = 10  # as in published Inception Scores

    def __init__(self, network: Any, device: torch.device) -> None:
        self._network = network.to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """As `Extractor`; pixels are rounded to bytes, which is what the network is made for."""
        bytes_BCHW = three_channels(to_uint8(images_BCHW))
        parts = [self._network(chunk.to(self._device))[0] for chunk in torch.split(bytes_BCHW, _CHUNK)]
        return torch.cat(parts).float().cpu()

    @torch.inference_mode()
    def logits(self, features_BD: Tensor) -> Tensor:
        """As `Classifier`: 1,008 classes."""
        logits_BK: Tensor = features_BD.to(self._device) @ self._network.fc.weight.T
        return logits_BK.cpu()


def load_inception_v3(source: Source | None, device: torch.device) -> Extractor:
    """Read the weights from the file given, or from torch's cache, or download them into it.

    Raises:
        UserError: the package is not installed, or the weights are missing or not the FID's.
    """
    ensure_torchvision()  # torch-fidelity imports it
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise UserError(
            f"evaluate.extractor='inception_v3' needs the package {error.name}; "
            "install it with: pip install 'i2i-unlearn[fid]'"
        ) from None
    path = _given(source) if source else _cached_or_downloaded()
    check_pinned(path, SHA256)
    # The library reads weights in a way that could run code from the file; what it is handed was read as mere tensors.
    harmless = io.BytesIO()
    torch.save(torch.load(path, map_location="cpu", weights_only=True), harmless)
    harmless.seek(0)
    return InceptionV3(FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], harmless), device)


def _given(source: Source) -> Path:
    path = Path(source.where)
    if not path.is_file():
        raise UserError(f"evaluate.extractor={source.setting!r}: {path} is not a file; fetch {URL}")
    if source.pin and source.pin != SHA256:
        raise UserError(
            f"evaluate.extractor={source.setting!r}: the InceptionV3 of the FID has sha256 {SHA256}; "
            "leave the pin out, it is always checked"
        )
    return path


def _cached_or_downloaded() -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILE_NAME
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(URL, str(path), hash_prefix=SHA256, progress=False)
        except (OSError, URLError, RuntimeError) as error:  # no network, no space, or other bytes than asked for
            raise UserError(
                f"evaluate.extractor='inception_v3': its weights are not at {path} and cannot be fetched from {URL} "
                f"({error}); name a file: inception_v3:FILE"
            ) from None
    return path
