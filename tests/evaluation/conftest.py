"""A small stub generator and made-up observations."""

import numpy as np
import pytest
import torch
from torch import nn

from i2i_unlearn.evaluation.metrics.features import keep_features
from i2i_unlearn.evaluation.metrics.observations import Observations
from i2i_unlearn.models.base import Embedding


class Filler(nn.Module):
    """Fills the hole with the mean of what is visible, plus `bias`, plus noise of size `noise`."""

    family = "filler"

    def __init__(self, bias=0.0, noise=0.0, size=8, num_channels=1):
        super().__init__()
        self.bias, self.noise = bias, noise
        self.image_size, self.num_channels = (size, size), num_channels

    def encode(self, images_BCHW, visible_BHW, draws=()):
        shown = visible_BHW.unsqueeze(1)
        mean = (images_BCHW * shown).sum((1, 2, 3)) / (shown.sum((1, 2, 3)) * images_BCHW.shape[1])
        return Embedding((torch.stack((mean, mean + self.bias), 1).unsqueeze(1),))

    def complete(self, images_BCHW, visible_BHW, *, generator):
        fill = self.encode(images_BCHW, visible_BHW).maps[0][:, 0, 1].view(-1, 1, 1, 1)
        drawn = torch.randn(images_BCHW.shape, generator=generator) * self.noise
        return torch.where(visible_BHW.unsqueeze(1), images_BCHW, (fill + drawn).clamp(-1, 1))

    def training_loss(self, images_BCHW, visible_BHW, *, generator):
        completed = self.complete(images_BCHW, visible_BHW, generator=generator)
        return (completed - images_BCHW).square().mean((1, 2, 3))


class Thumbnails:
    """An extractor: the image's means over a 2x2 grid of each channel, and one."""

    num_features = 5

    def __call__(self, images_BCHW):
        means = nn.functional.adaptive_avg_pool2d(images_BCHW.mean(1, keepdim=True), 2).flatten(1)
        return torch.cat((means, torch.ones(len(means), 1)), 1)


def kept(features_ND):
    """What is kept of these features."""
    keeper = keep_features(*features_ND.shape, np.arange(len(features_ND)))
    keeper.add(torch.from_numpy(features_ND))
    return keeper


@pytest.fixture
def filler():
    return Filler


@pytest.fixture
def thumbnails():
    return Thumbnails()


@pytest.fixture
def observations():
    def make(num_images=20, num_features=6, seed=0, references=("reference",)):
        rng = np.random.default_rng(seed)

        def random(*shape):
            return rng.random(shape).astype(np.float32)

        return Observations(
            hole_error_N=random(num_images),
            reference_errors={name: random(num_images) for name in references},
            own_loss_N=random(num_images),
            feature_cosine_N=random(num_images),
            contrast_N=random(num_images),
            roughness_N=random(num_images),
            edge_N=random(num_images),
            features=kept(random(num_images, num_features)),
            original_features=kept(np.random.default_rng(99).random((num_images, num_features)).astype(np.float32)),
            classes=None,
            pixels_NP=random(num_images, 7),
            hidden_NP=np.ones((num_images, 7), dtype=bool),
            sampled_N=np.arange(num_images),
            featured_N=np.arange(num_images),
            rows_N=np.arange(num_images),
        )

    return make
