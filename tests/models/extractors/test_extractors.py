import numpy as np
import pytest
import torch
from skimage import data
from torch.nn import functional

from i2i_unlearn.models.extractors import efficientnet_lite0, load_extractor
from i2i_unlearn.support.errors import UserError

# ImageNet's classes for what the pictures show: cats; coffee, its cups and pots; cameras and tripods.
CLASSES = {"chelsea": {281, 282, 283, 284, 285}, "coffee": {504, 505, 849, 967, 968}, "camera": {759, 872}}


@pytest.fixture(scope="module")
def extractor():
    return load_extractor("efficientnet_lite0", torch.device("cpu"))


def photograph(name):
    """Centre square of a public picture, in [-1, 1]."""
    pixels = getattr(data, name)()
    pixels = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    image_CHW = torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1
    side = min(image_CHW.shape[1:])
    top, left = (image_CHW.shape[1] - side) // 2, (image_CHW.shape[2] - side) // 2
    return image_CHW[None, :, top : top + side, left : left + side]


def crop(image, part):
    side = image.shape[-1]
    edge = int(side * 0.2)
    return image[..., edge:, edge:] if part == "lower" else image[..., : side - edge, : side - edge]


def test_the_networks_own_classifier_recognises_photographs_from_the_features(extractor):
    for name, wanted in CLASSES.items():
        classes = extractor.logits(extractor(photograph(name))).topk(5).indices[0].tolist()
        assert wanted & set(classes), f"{name}: {classes}"


def test_crops_of_one_photograph_are_nearer_to_each_other_than_to_other_photographs(extractor):
    names = ("chelsea", "coffee", "rocket", "astronaut")
    upper, lower = (
        functional.normalize(torch.cat([extractor(crop(photograph(name), part)) for name in names]))
        for part in ("upper", "lower")
    )
    likeness = upper @ lower.T
    assert (likeness.argmax(1) == torch.arange(len(names))).all()


def test_quickening_changes_nothing_but_the_time(extractor, monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "_quickened", lambda network: network)
    plain = load_extractor("efficientnet_lite0", torch.device("cpu"))
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.allclose(extractor(images), plain(images), atol=1e-4)


def test_gives_float32_features_of_grey_images_whatever_the_batch(extractor):
    images = torch.rand(28, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features = extractor(images)
    assert (features.shape, features.dtype) == ((28, extractor.num_features), torch.float32)
    assert torch.allclose(features[:3], extractor(images[:3]), atol=1e-4)
    assert torch.allclose(features[:3], extractor(images[:3].expand(-1, 3, -1, -1)), atol=1e-4)


def test_an_unknown_extractor_names_the_known_ones():
    with pytest.raises(UserError, match="evaluate.extractor='inception' is not known; choose one of: efficientnet"):
        load_extractor("inception", torch.device("cpu"))
