import pytest
import torch

from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.objectives.random_encoder import noise_like, random_encoder
from i2i_unlearn.models.base import Embedding


def test_the_noise_is_standard_normal_in_every_map():
    maps = (torch.full((50, 40, 30), 7.0), torch.full((50, 8, 16, 16), -3.0, dtype=torch.bfloat16))
    noise = noise_like(Embedding(maps), seed=3)
    for like, found in zip(maps, noise.maps, strict=True):
        assert found.shape == like.shape
        assert (found.dtype, found.requires_grad) == (torch.float32, False)
        assert abs(found.mean().item()) < 0.02
        assert found.std().item() == pytest.approx(1.0, abs=0.02)
    assert noise.maps[0].equal(noise_like(Embedding(maps), seed=3).maps[0])
    assert not noise.maps[0].equal(noise_like(Embedding(maps), seed=4).maps[0])


def test_on_average_it_asks_for_the_embedding_zero_by_hand(written_model, written_targets, pixels, state_of):
    # d/dw (w x - n)^2 = 2 (w x - n) x; n has mean 0. w = 3, x = 2: 24 on average; one draw deviates by 2 x = 4.
    model, objective = written_model(w=3.0), random_encoder(Settings(alpha=1.0))
    batches = {"retain": pixels(0.0), "forget": pixels(*[2.0] * 400)}
    terms = objective.terms(batches, model, written_targets(retain=[0.0]), state_of())
    objective.backward(terms, [], state_of())
    assert model.w.grad.item() == pytest.approx(24, abs=4 * 4 / 400**0.5)
    assert terms["forget"].item() == pytest.approx(36 + 1, abs=3)  # (w x)^2 and the variance of n


def test_the_noise_is_another_at_every_step(written_model, written_targets, pixels, state_of):
    batches, targets = {"retain": pixels(0.0), "forget": pixels(2.0)}, written_targets(retain=[0.0])
    one, two, again, other_seed = (
        random_encoder(Settings(alpha=1.0, seed=seed)).terms(batches, written_model(), targets, state_of(step))[
            "forget"
        ]
        for seed, step in ((0, 0), (0, 1), (0, 0), (1, 0))
    )
    assert one.item() == again.item()
    assert len({one.item(), two.item(), other_seed.item()}) == 3
