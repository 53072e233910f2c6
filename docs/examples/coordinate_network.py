"""A model of one's own that knows no pixel grid. params.yaml: `model: coordinate_network:CoordinateNetwork`.

E: the visible pixels, a set of points (x, y, value) -> one code of the image. D: (code, x, y) -> value, place by place.
After Garnelo et al., "Conditional Neural Processes", ICML 2018, arXiv:1807.01613.
"""

import math

import torch
from torch import nn

from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.own_weights import load_weights, read_sizes, save_weights, seeded


class CoordinateNetwork(nn.Module):
    """A conditional neural process: the mean over points makes it indifferent to their order and number."""

    family = "coordinate_network:CoordinateNetwork"

    def __init__(self, image_size, num_channels, width=64, num_waves=4):
        super().__init__()
        self.image_size, self.num_channels = (image_size, image_size), num_channels
        self.sizes = {"image_size": image_size, "num_channels": num_channels, "width": width, "num_waves": num_waves}
        axis = (torch.arange(image_size) + 0.5) / image_size
        angles = torch.cartesian_prod(axis, axis).unsqueeze(-1) * math.pi * 2.0 ** torch.arange(num_waves)
        waves_NK = torch.cat((angles.sin(), angles.cos()), dim=-1).flatten(1)  # N places, K waves
        self.register_buffer("waves_NK", waves_NK, persistent=False)
        known, code = waves_NK.shape[1], 4 * width
        self.encoder = nn.Sequential(nn.Linear(known + num_channels, width), nn.GELU(), nn.Linear(width, code))
        self.decoder = nn.Sequential(nn.Linear(known + code, width), nn.GELU(), nn.Linear(width, num_channels))

    def draw(self, num, generator, *, emphasis=0.0):
        return ()

    def encode(self, images_BCHW, visible_BHW, draws=()):
        points_BNP = torch.cat((self._waves(images_BCHW), images_BCHW.flatten(2).transpose(1, 2)), dim=-1)
        weight_BN1 = visible_BHW.flatten(1).unsqueeze(-1).to(images_BCHW)
        hidden_BN1 = weight_BN1 == 0
        codes_BND = self.encoder(points_BNP.masked_fill(hidden_BN1, 0)) * weight_BN1
        return Embedding((codes_BND.sum(1) / weight_BN1.sum(1).clamp(min=1),))  # one map of shape (B, D)

    def decode(self, embedding, visible_BHW):
        code_BD = embedding.maps[0]
        waves_BNK = self._waves(code_BD)
        code_BND = code_BD.unsqueeze(1).expand(-1, waves_BNK.shape[1], -1)
        values_BNC = self.decoder(torch.cat((waves_BNK, code_BND), dim=-1))
        return values_BNC.transpose(1, 2).unflatten(2, self.image_size)

    def _waves(self, like_B):
        return self.waves_NK.expand(len(like_B), -1, -1)

    def complete(self, images_BCHW, visible_BHW, *, generator):
        filled_BCHW = self.decode(self.encode(images_BCHW, visible_BHW), visible_BHW).clamp(-1, 1)
        return torch.where(visible_BHW.unsqueeze(1), images_BCHW, filled_BCHW)

    def training_loss(self, images_BCHW, visible_BHW, *, generator, truth_BCHW=None):
        filled_BCHW = self.decode(self.encode(images_BCHW, visible_BHW), visible_BHW)
        wrong_BCHW = (filled_BCHW - (images_BCHW if truth_BCHW is None else truth_BCHW)).square()
        return wrong_BCHW.flatten(1).mean(1)  # visible places too: the code must hold them

    def encoder_parameters(self):
        return self.encoder.named_parameters(prefix="encoder")

    @classmethod
    def create(cls, architecture, *, generator, **sizes):
        with seeded(generator):
            return cls(**sizes, **architecture)

    @classmethod
    def load_architecture(cls, folder, *, generator):
        return cls.create(read_sizes(folder), generator=generator)

    @classmethod
    def load(cls, folder):
        return load_weights(cls(**read_sizes(folder)), folder)

    def save(self, folder):
        save_weights(self, folder, self.sizes)
