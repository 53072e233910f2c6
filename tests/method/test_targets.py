import pytest
import torch

from i2i_unlearn.method.noise import fit_noise
from i2i_unlearn.method.targets import CHUNK, TeacherTargets
from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.training.sampling import Sampler, single_pool

NUM_IMAGES = 12
BATCH = 5
BYTES_PER_IMAGE = (1 + 12) * 32 * 4  # class token and 12 visible patches of 16, 32 channels, float32


@pytest.fixture(scope="module")
def teacher(tiny_model):
    return tiny_model(1).requires_grad_(False)


@pytest.fixture(scope="module")
def images():
    shape = (NUM_IMAGES, 1, 16, 16)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def made(teacher, images):
    """`made(operator, num_noise_draws, cache_bytes)`: targets and a function that gives the batch of a step."""

    def make(operator="center_hole", num_noise_draws=0, cache_bytes=0, seed=0):
        drawn = make_operator(operator, 0.75, 4)
        noise = fit_noise(to_float(images), covariance="diagonal", mean="zero", patch_size=0)
        targets = TeacherTargets(
            teacher,
            drawn,
            noise,
            {"retain": images},
            seed=seed,
            num_noise_draws=num_noise_draws,
            cache_bytes=cache_bytes,
        )
        sampler = Sampler({"retain": single_pool(images, BATCH)}, drawn, seed)
        return targets, lambda step: sampler.batches(step)["retain"]

    return make


def held_bytes(targets):
    return targets._cache.held_bytes


@pytest.mark.parametrize("budget", [0, 1, 3, NUM_IMAGES - 1, NUM_IMAGES, 100])
def test_cached_equals_recomputed_within_any_budget(made, teacher, budget):
    targets, batch_of = made(cache_bytes=budget * BYTES_PER_IMAGE + 7)
    for step in range(6):
        batch = batch_of(step)
        expected = teacher.encode(batch.images_BCHW, batch.visible_BHW).maps[0]
        assert torch.allclose(targets.of_images("retain", batch).maps[0], expected, atol=1e-6)
    assert held_bytes(targets) == min(budget, NUM_IMAGES) * BYTES_PER_IMAGE


@pytest.mark.parametrize("operator", ["random_patches", "free_form"])
def test_nothing_is_cached_where_every_batch_has_other_masks(made, teacher, operator):
    targets, batch_of = made(operator, cache_bytes=10**9)
    for step in range(3):
        batch = batch_of(step)
        found = targets.of_images("retain", batch)
        expected = teacher.encode(batch.images_BCHW, batch.visible_BHW)
        assert found.maps[0].equal(expected.maps[0])
    assert held_bytes(targets) == 0


def test_a_cached_image_is_not_encoded_again(made, teacher, monkeypatch):
    targets, batch_of = made(cache_bytes=10**9)
    first = targets.of_images("retain", batch_of(0))
    monkeypatch.setattr(teacher, "encode", None)  # would fail if it were called
    assert targets.of_images("retain", batch_of(0)).maps[0].equal(first.maps[0])


def test_the_mean_over_draws_is_the_mean_over_those_draws(made, teacher):
    targets, batch_of = made(num_noise_draws=CHUNK + 7)  # more than one pass of the teacher
    batch = batch_of(0)
    found = targets.of_noise(batch).maps[0]
    generator = generator_for(0, "noise mean")
    noise = torch.cat([targets._noise.draw(count, generator) for count in (CHUNK, 7)])
    expected = teacher.encode(noise, batch.visible_BHW[:1].expand(len(noise), -1, -1)).maps[0].mean(0, keepdim=True)
    assert found.shape == (1, 13, 32)  # one image serves the whole batch
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_mean_is_the_same_at_every_step_and_fresh_noise_is_not(made):
    averaged, batch_of = made(num_noise_draws=4)
    assert averaged.of_noise(batch_of(0)).maps[0].equal(averaged.of_noise(batch_of(1)).maps[0])
    fresh, _ = made()
    assert fresh.of_noise(batch_of(0)).maps[0].shape == (BATCH, 13, 32)
    assert not fresh.of_noise(batch_of(0)).maps[0].equal(fresh.of_noise(batch_of(1)).maps[0])


def test_fresh_noise_is_a_function_of_seed_and_step(made):
    for operator in ("center_hole", "random_patches"):
        targets, batch_of = made(operator)
        again, _ = made(operator)
        again.of_noise(batch_of(0))
        other, _ = made(operator, seed=1)
        found = targets.of_noise(batch_of(3)).maps[0]
        assert found.equal(again.of_noise(batch_of(3)).maps[0])
        assert not found.equal(other.of_noise(batch_of(3)).maps[0])


def test_more_draws_come_closer_to_the_expectation(made):
    # The mean over n draws of n-independent noise deviates by 1 / sqrt(n): 16 times the draws, a quarter of the error.
    _, batch_of = made()
    truth = made(num_noise_draws=4096, seed=99)[0].of_noise(batch_of(0))

    def error(draws):
        found = (made(num_noise_draws=draws, seed=seed)[0].of_noise(batch_of(0)) for seed in range(8))
        return sum(float(embedding.squared_distance(truth)) for embedding in found) ** 0.5

    assert error(16) / error(256) == pytest.approx(4, rel=0.4)


def test_the_mean_target_has_the_gradient_of_fresh_noise_by_hand():
    # Embedding 1, noise targets 0 and 4: d (e - t)^2 = 2 (e - t) is 2 and -6, on average -2. Mean target 2: the same.
    def gradient(target):
        embedding = torch.ones(1, 1, 1, requires_grad=True)
        Embedding((embedding,)).squared_distance(Embedding((torch.full((1, 1, 1), target),))).mean().backward()
        return embedding.grad.item()

    assert (gradient(0.0), gradient(4.0)) == (2.0, -6.0)
    assert gradient(2.0) == (gradient(0.0) + gradient(4.0)) / 2


def test_the_mean_target_has_the_expected_gradient_of_fresh_noise(made, teacher, tiny_model):
    draws = 6
    targets, batch_of = made(num_noise_draws=draws)
    batch, student = batch_of(0), tiny_model(5)
    noise = targets._noise.draw(draws, generator_for(0, "noise mean"))
    each = teacher.encode(noise, batch.visible_BHW[:1].expand(draws, -1, -1))

    def gradients(target):
        student.zero_grad()
        student.encode(batch.images_BCHW, batch.visible_BHW).squared_distance(target).mean().backward()
        return {name: parameter.grad.clone() for name, parameter in student.encoder_parameters()}

    single = [gradients(each[i : i + 1]) for i in range(draws)]
    for name, gradient in gradients(targets.of_noise(batch)).items():
        average = torch.stack([of_one[name] for of_one in single]).mean(0)
        assert torch.allclose(gradient, average, rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize("operator", ["center_hole", "free_form"])
def test_targets_carry_no_gradient_even_where_the_teacher_could(teacher, made, operator):
    teacher.requires_grad_(True)
    try:
        targets, batch_of = made(operator, num_noise_draws=3, cache_bytes=10**9)
        for embedding in (targets.of_images("retain", batch_of(0)), targets.of_noise(batch_of(0))):
            assert not embedding.maps[0].requires_grad
    finally:
        teacher.requires_grad_(False)


# --- outputs, and images like these ---


@pytest.mark.parametrize("operator", ["center_hole", "free_form"])
@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_outputs_are_what_the_teacher_paints(made, teacher, operator, cache_bytes):
    targets, batch_of = made(operator, cache_bytes=cache_bytes)
    for step in range(3):
        batch = batch_of(step)
        expected = teacher.decode(teacher.encode(batch.images_BCHW, batch.visible_BHW), batch.visible_BHW)
        assert torch.allclose(targets.outputs("retain", batch), expected, atol=1e-5)
    assert held_bytes(targets) == (NUM_IMAGES * 256 * 4 if cache_bytes and operator == "center_hole" else 0)


def test_outputs_and_embeddings_of_one_set_are_kept_apart(made, teacher):
    targets, batch_of = made(cache_bytes=10**9)
    batch = batch_of(0)
    assert targets.of_images("retain", batch).maps[0].shape == (BATCH, 13, 32)
    assert targets.outputs("retain", batch).shape == (BATCH, 1, 16, 16)
    assert targets.of_images("retain", batch).maps[0].shape == (BATCH, 13, 32)


@pytest.fixture
def with_unseen(teacher, images):
    """`with_unseen(unseen, operator)`: targets whose forget set is `images`, and the forget batch of a step."""

    def make(unseen, operator="center_hole", cache_bytes=0):
        drawn = make_operator(operator, 0.75, 4)
        noise = fit_noise(to_float(images), covariance="identity", mean="zero", patch_size=0)
        sets = {"forget": images, "unseen_target": unseen}
        targets = TeacherTargets(teacher, drawn, noise, sets, seed=0, num_noise_draws=0, cache_bytes=cache_bytes)
        sampler = Sampler({"forget": single_pool(images, BATCH)}, drawn, 0)
        return targets, lambda step: sampler.batches(step)["forget"]

    return make


@pytest.mark.parametrize("operator", ["center_hole", "free_form"])
@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_an_image_that_is_there_itself_is_most_like_itself(with_unseen, teacher, images, operator, cache_bytes):
    # The unseen set is the forget set in another order: each image's target is its own embedding.
    targets, batch_of = with_unseen(images.flip(0), operator, cache_bytes)
    for step in range(3):
        batch = batch_of(step)
        expected = teacher.encode(batch.images_BCHW, batch.visible_BHW)
        found = targets.like_unseen(batch)
        assert float(found.squared_distance(expected).max()) < 1e-8


def test_the_hidden_part_has_no_say_in_what_is_alike_under_a_fixed_mask(with_unseen, teacher, images):
    hidden = ~make_operator("center_hole", 0.75, 4).draw(1, 16, 16, None)[0]
    other_inside = images.flip(0).masked_fill(hidden, 255)
    targets, batch_of = with_unseen(other_inside)
    batch = batch_of(0)
    expected = teacher.encode(batch.images_BCHW, batch.visible_BHW)
    assert float(targets.like_unseen(batch).squared_distance(expected).max()) < 1e-8


def test_the_unseen_image_is_encoded_under_the_forget_images_own_mask(with_unseen, teacher, images):
    targets, batch_of = with_unseen(images[3:4], "free_form")  # one unseen image: it is like all of them
    batch = batch_of(0)
    one = to_float(images[3:4]).expand(BATCH, -1, -1, -1)
    expected = teacher.encode(one, batch.visible_BHW)
    assert float(targets.like_unseen(batch).squared_distance(expected).max()) < 1e-8


def test_an_image_nearly_the_same_is_found(with_unseen, teacher, images):
    noise = torch.randint(0, 3, images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(6))
    targets, batch_of = with_unseen((images // 2 + 60 + noise)[order])
    plain, _ = with_unseen((images // 2 + 60)[order])
    batch = batch_of(0)
    near = targets.like_unseen(batch).squared_distance(plain.like_unseen(batch))
    far = targets.like_unseen(batch).squared_distance(plain.like_unseen(batch_of(1)))
    assert float(near.max()) < 0.1 * float(far.mean())
