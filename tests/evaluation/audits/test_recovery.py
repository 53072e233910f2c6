"""A fresh decoder on a frozen encoder: whose embeddings still tell."""

import numpy as np
import pytest
import torch

from i2i_unlearn.evaluation.audits import recovery
from i2i_unlearn.evaluation.audits.recovery import AUDIT, FreshDecoder, as_tokens, mean_image
from i2i_unlearn.evaluation.metrics.bootstrap import measured
from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.operators import make_operator
from tests.evaluation.audits.guilty import Counter, blocks, digest, generator, image_set, inputs_of, known, make


@pytest.fixture(scope="module")
def attacked():
    models = {"teacher": known().guilty, "reference": known().innocent}
    return AUDIT.attack(inputs_of(models, known().sets), Counter())


def interval(attacked, model):
    found = measured(attacked.measures[model]["recovery_gap_db"], attacked.num_images)
    return found["low"], found["high"]


def test_the_encoder_that_saw_the_images_tells_and_the_other_does_not(attacked):
    assert interval(attacked, "teacher")[0] > 0
    low, high = interval(attacked, "reference")
    assert low < 0 < high
    assert attacked.compared_with == "forget_holdout"
    assert attacked.innocent_holds
    assert attacked.num_images == 100


def test_the_difference_between_models_is_paired(attacked):
    # Both models are judged on the same draws of the same images, so their difference varies less than one of them.
    teacher, reference = (attacked.measures[name]["recovery_gain_db"] for name in ("teacher", "reference"))
    assert teacher.minus(reference).samples_K.std() < np.hypot(teacher.samples_K.std(), reference.samples_K.std())


def test_embeddings_that_are_kept_are_those_that_would_be_made_again(monkeypatch):
    inputs = inputs_of({"teacher": known().innocent}, known().sets, recovery_steps=10)
    kept = AUDIT.attack(inputs, Counter())
    monkeypatch.setattr(recovery, "MOST_KEPT_BYTES", 0)
    again = AUDIT.attack(inputs, Counter())
    for name, values in kept.curves["teacher"].items():
        assert again.curves["teacher"][name] == pytest.approx(values, abs=1e-3)


@pytest.mark.parametrize("family", ["mae", "diffusion", "vqgan"])
def test_every_family_can_be_attacked(family):
    models = {"teacher": make(family), "unlearned": make(family, seed=1)}
    before = {name: digest(model) for name, model in models.items()}
    sets = {"forget": blocks(6, 1), "retain": blocks(6, 2), "retain_holdout": blocks(6, 3)}
    found = AUDIT.attack(inputs_of(models, sets, recovery_steps=2), Counter())
    assert np.isfinite(found.measures["unlearned"]["recovery_gap_db"].samples_K).all()
    # Random encoders say different things, so decoders with the same first weights end differently.
    assert found.curves["teacher"] != found.curves["unlearned"]
    assert {name: digest(model) for name, model in models.items()} == before


def test_masks_that_differ_from_image_to_image_are_padded_and_the_padding_is_not_read():
    operator = make_operator("free_form", 0.7, 4)
    model, images = make(), image_set(blocks(12, 1), operator)
    batch, visible = next(images.batches(12, torch.device("cpu")))
    embedding = model.encode(batch, visible)
    assert embedding.valid_BN is not None
    decoder = FreshDecoder(embedding, torch.zeros(1, 8, 8), generator())
    torch.nn.init.normal_(decoder.paint.weight, generator=generator())
    one = decoder(embedding)
    noise = torch.where(embedding.valid_BN.unsqueeze(2), 0.0, 5.0)
    other = decoder(Embedding((embedding.maps[0] + noise,), embedding.valid_BN))
    torch.testing.assert_close(one, other)


def test_an_untrained_decoder_paints_the_mean_image():
    images = image_set(blocks(4, 1))
    embedding = Embedding((torch.randn(3, 5, 7, generator=generator()), torch.randn(3, 2, 9, 9, generator=generator())))
    mean = mean_image(images)
    assert mean.mean() == pytest.approx(float(images.images_NCHW.float().mean() / 127.5 - 1), abs=1e-6)
    painted = FreshDecoder(embedding, mean, generator())(embedding)
    torch.testing.assert_close(painted, mean.expand(3, -1, -1, -1))


def test_a_decoder_learns_what_the_tokens_say():
    # One token says how bright the image is.
    bright_B = torch.linspace(-1, 1, 64)
    tokens = torch.stack((bright_B, -bright_B, torch.ones(64)), dim=1)
    embedding = Embedding((tokens.unsqueeze(1),))
    decoder = FreshDecoder(embedding, torch.zeros(1, 8, 8), generator())
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    for _ in range(30):
        loss = (decoder(embedding) - bright_B.view(-1, 1, 1, 1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05  # the mean image: 1/3


def test_maps_of_every_kind_become_tokens():
    assert as_tokens(torch.zeros(2, 5)).shape == (2, 1, 5)
    assert as_tokens(torch.zeros(2, 7, 5)).shape == (2, 7, 5)
    assert as_tokens(torch.zeros(2, 5, 3, 4)).shape == (2, 12, 5)
    assert as_tokens(torch.zeros(2, 5, 32, 16)).shape == (2, 64, 5)
    # A feature map's cell is the mean of the pixels in it, with its channels as features.
    feature = torch.arange(16.0 * 16).view(1, 1, 16, 16)
    assert as_tokens(feature)[0, 0, 0] == (0 + 1 + 16 + 17) / 4
    assert as_tokens(feature.half()).dtype == torch.float32


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (30, 14), (13, 7)])
def test_every_size_of_image_is_painted(size):
    embedding = Embedding((torch.zeros(2, 3, 6),))
    assert FreshDecoder(embedding, torch.zeros(3, *size), generator())(embedding).shape == (2, 3, *size)


def test_without_enough_images_of_the_forgotten_classes_those_of_others_are_compared_with():
    sets = {"forget": blocks(31, 1), "retain": blocks(6, 2), "forget_holdout": blocks(29, 3)}
    inputs = inputs_of({"teacher": make()}, {**sets, "retain_holdout": blocks(30, 4)}, recovery_steps=1)
    found = AUDIT.attack(inputs, Counter())
    assert (found.compared_with, found.num_images) == ("retain_holdout", 30)
    assert not found.innocent_holds  # the classes differ: only the reference tells
