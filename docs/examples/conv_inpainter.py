"""A model of one's own: a small convolutional inpainter. params.yaml: `model: conv_inpainter:ConvInpainter`."""

import torch
from torch import nn

from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.own_weights import load_weights, read_sizes, save_weights, seeded


class ConvInpainter(nn.Module):
    """E: convolutions over T(x) and its mask, down to a quarter of the size. D: convolutions back to pixels."""

    family = "conv_inpainter:ConvInpainter"

    def __init__(self, image_size, num_channels, width=32):
        super().__init__()
        self.image_size, self.num_channels = (image_size, image_size), num_channels
        self.sizes = {"image_size": image_size, "num_channels": num_channels, "width": width}
        down = [nn.Conv2d(num_channels + 1, width, 5, 2, 2), nn.GELU(), nn.Conv2d(width, width, 5, 2, 2), nn.GELU()]
        up = [nn.Conv2d(width, width, 5, 1, 2), nn.GELU(), nn.Conv2d(width, 16 * num_channels, 1), nn.PixelShuffle(4)]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)

    def draw(self, num, generator, *, emphasis=0.0):
        return ()  # the encoder sees nothing of chance

    def encode(self, images_BCHW, visible_BHW, draws=()):
        visible_B1HW = visible_BHW.unsqueeze(1).to(images_BCHW)
        return Embedding((self.encoder(torch.cat((images_BCHW * visible_B1HW, visible_B1HW), dim=1)),))

    def decode(self, embedding, visible_BHW):
        return self.decoder(embedding.maps[0])

    def complete(self, images_BCHW, visible_BHW, *, generator):
        filled_BCHW = self.decode(self.encode(images_BCHW, visible_BHW), visible_BHW).clamp(-1, 1)
        return torch.where(visible_BHW.unsqueeze(1), images_BCHW, filled_BCHW)

    def training_loss(self, images_BCHW, visible_BHW, *, generator, truth_BCHW=None):
        filled_BCHW = self.decode(self.encode(images_BCHW, visible_BHW), visible_BHW)
        wrong_BCHW = (filled_BCHW - (images_BCHW if truth_BCHW is None else truth_BCHW)).square()
        return wrong_BCHW.masked_fill(visible_BHW.unsqueeze(1), 0).flatten(1).mean(1)

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
