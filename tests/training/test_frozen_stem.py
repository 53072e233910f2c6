from dataclasses import replace

import pytest
import torch

from i2i_unlearn.method.objectives.base import encode_together
from i2i_unlearn.models import family_named
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.training.frozen_stem import fixed_stems
from i2i_unlearn.training.sampling import Sampler, single_pool
from tests.models.samples import VQGAN


def pixels_of(pools):
    return {name: pool.images_BCHW for name, pool in pools.items()}


@pytest.fixture(scope="module")
def tokenizing():
    """A model of the family vqgan, whose encoder begins with a frozen tokenizer, and 9 images."""
    generator = torch.Generator().manual_seed(0)
    model = family_named("vqgan").create(VQGAN, image_size=8, num_channels=1, generator=generator)
    model.tokenizer.codebook_KD.copy_(torch.randn(16, 4, generator=generator))
    return model.eval(), torch.randint(0, 256, (9, 1, 8, 8), generator=generator, dtype=torch.uint8)


def test_encoding_from_the_front_on_is_encoding(tokenizing):
    model, images = tokenizing
    visible = make_operator("half_left", 0.5, 1).draw(9, 8, 8, torch.Generator())
    stem = model.stem(to_float(images), visible)
    assert len(stem.unique()) > 1
    found, expected = model.encode_stem(stem, visible), model.encode(to_float(images), visible)
    assert found.maps[0].equal(expected.maps[0])
    assert found.context[0].equal(expected.context[0])


def test_each_image_of_a_batch_brings_its_own_stem(tokenizing):
    model, images = tokenizing
    pools = {"retain": single_pool(images[:5], 3), "forget": single_pool(images[5:], 2)}
    operator = make_operator("half_left", 0.5, 1)
    of = Sampler(pools, operator, 0, stems=fixed_stems(model, operator, pixels_of(pools)))
    for step in range(3):
        batches = of.batches(step)
        for batch in batches.values():
            assert batch.stem.equal(model.stem(batch.images_BCHW, batch.visible_BHW))
        found = encode_together(model, *batches.values())
        without = encode_together(model, *(replace(batch, stem=None) for batch in batches.values()))
        for one, other in zip(found, without, strict=True):
            assert one.maps[0].equal(other.maps[0])


def test_there_is_no_front_where_masks_change_or_nothing_is_frozen(tokenizing, tiny_model):
    model, images = tokenizing
    pools = {"forget": single_pool(images, 2)}
    assert fixed_stems(model, make_operator("random_patches", 0.5, 2), pixels_of(pools)) == {}
    assert fixed_stems(tiny_model(), make_operator("half_left", 0.5, 1), pixels_of(pools)) == {}
    of = Sampler(pools, make_operator("half_left", 0.5, 1), 0)
    assert of.batches(0)["forget"].stem is None
