import math

import torch

from i2i_unlearn.models.vqgan.decoding import FromGenerator, decode_iteratively, decoding_steps
from tests.models.samples import generator

MASK = 9


def some_ids(num_images=3, num_tokens=12, num_known=4):
    ids = torch.randint(5, (num_images, num_tokens), generator=generator())
    known = torch.zeros(num_images, num_tokens, dtype=torch.bool)
    known[:, :num_known] = True
    return ids, known


class Model:
    """Logits that favour id 3; notes what it was asked."""

    def __init__(self, strength=2.0):
        self.asked, self.strength = [], strength

    def __call__(self, ids, known):
        self.asked.append((ids, known))
        logits = torch.zeros(*ids.shape, 5)
        logits[..., 3] = self.strength
        return logits


def decoded(model, ids, known, *, num_steps=4, temperature=1.0, seed=0):
    return decode_iteratively(
        model,
        ids,
        known,
        mask_id=MASK,
        num_steps=num_steps,
        temperature=temperature,
        chance=FromGenerator(generator(seed), len(ids), num_steps, ids.shape[1]),
    )


def test_known_ids_stay_and_are_told_to_the_model_and_no_other():
    ids, known = some_ids()
    model = Model()
    result = decoded(model, ids, known)
    assert result[known].equal(ids[known])
    assert int(result.max()) < 5
    for asked, was_known in model.asked:
        assert bool((asked[~was_known] == MASK).all())
        assert bool((asked[was_known] < 5).all())
    assert model.asked[0][1].equal(known)


def test_the_number_of_unknown_tokens_falls_along_a_cosine():
    # 8 unknown, 4 steps: floor(8 cos(pi/8 k)), k = 1, 2, 3: 7, 5, 3.
    model = Model()
    decoded(model, *some_ids())
    assert [(~known).sum(1).tolist() for _, known in model.asked] == [[8] * 3, [7] * 3, [5] * 3, [3] * 3]


def test_images_with_different_numbers_of_unknown_tokens_have_each_its_own_pace():
    ids, known = some_ids(3)
    known[1, 4:] = True  # nothing to fill
    known[2, 4:11] = True  # one token
    model = Model()
    result = decoded(model, ids, known)
    assert [(~known).sum(1).tolist() for _, known in model.asked] == [[8, 0, 1], [7, 0, 1], [5, 0, 1], [3, 0, 1]]
    assert result[1].equal(ids[1])


def test_the_surest_tokens_are_kept():
    # Without temperature the ids of highest probability stay: a model sure of the last tokens only.
    class SureOfTheLast(Model):
        def __call__(self, ids, known):
            logits = super().__call__(ids, known)
            logits[:, 8:, 3] = 50.0
            return logits

    model = SureOfTheLast()
    ids, known = some_ids()
    decoded(model, ids, known, num_steps=2, temperature=0.0)
    second = model.asked[1][1]
    # floor(8 cos(pi/4)) = 5 of 8 are drawn again; the three kept are among the last four.
    assert second[:, 8:].sum(1).tolist() == [3, 3, 3]
    assert second[:, 4:8].sum() == 0


def test_draws_follow_the_distribution():
    probabilities = torch.tensor([0.1, 0.0, 0.6, 0.3])
    num = 20000
    chance = FromGenerator(generator(), num, 1, 1)
    drawn = chance.ids(probabilities.log().expand(num, 1, 4))
    shares = torch.bincount(drawn.flatten(), minlength=4) / num
    assert torch.allclose(shares, probabilities, atol=4 * math.sqrt(0.25 / num))
    assert shares[1] == 0


def test_gumbel_noise_has_gumbels_mean_and_variance():
    chance = FromGenerator(generator(), 50000, 1, 1)
    noise = chance.gumbel(torch.zeros(50000, 1))
    assert abs(noise.mean().item() - 0.57722) < 0.03
    assert abs(noise.var().item() - math.pi**2 / 6) < 0.06


def test_one_generator_gives_one_result_and_does_not_depend_on_the_batch():
    ids, known = some_ids(6)
    whole = decoded(Model(0.5), ids, known)
    assert whole.equal(decoded(Model(0.5), ids, known))
    assert not whole.equal(decoded(Model(0.5), ids, known, seed=1))
    source, parts = generator(), []
    for i in (0, 2, 4):
        chance = FromGenerator(source, 2, 4, 12)
        *_, last = decoding_steps(
            Model(0.5), ids[i : i + 2], known[i : i + 2], mask_id=MASK, num_steps=4, temperature=1.0, chance=chance
        )
        parts.append(last)
    assert whole.equal(torch.cat(parts))
