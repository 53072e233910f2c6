import math
import re

import pytest
import torch

from i2i_unlearn.models import load_architecture, load_model
from i2i_unlearn.models.diffusion import unet as diffusion_unet
from i2i_unlearn.models.diffusion.model import DiffusionInpainter, UNet2DModel
from i2i_unlearn.models.diffusion.schedule import (
    DDPMScheduler,
    add_noise,
    clean_from,
    draw_times,
    level_at,
    what_to_predict,
)
from i2i_unlearn.support.errors import UserError
from tests.models.samples import DEEP, DIFFUSION, PALETTE, completed, edit_json, generator, masks, refused, some_images


def make(seed=0, *, image_size=8, num_channels=1, **architecture):
    """A tiny model with random weights."""
    return DiffusionInpainter.create(
        {**DIFFUSION, **architecture}, image_size=image_size, num_channels=num_channels, generator=generator(seed)
    ).eval()


VARIANTS = [
    {},
    {"patch_size": 2},
    PALETTE,
    {**DEEP, "num_channels": 3},
]


# --- both halves ---


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_halves_make_the_librarys_own_forward_pass(variant):
    unet = make(**variant).unet
    given, time = torch.randn(2, unet.config.in_channels, 8, 8, generator=generator()), torch.tensor([0.0, 13.0])
    with torch.no_grad():
        maps = diffusion_unet.encode(unet, given, time)
        assert torch.allclose(diffusion_unet.decode(unet, maps, time), unet(given, time).sample, atol=1e-6)


def test_encoder_decoder_and_time_embedding_are_all_of_the_unet():
    model = make()
    encoder = {name for name, _ in model.encoder_parameters()}
    shared = {name for name, _ in model.named_parameters() if name.startswith("unet.time_embedding")}
    decoder = {
        n
        for n, _ in model.named_parameters()
        if n.startswith(("unet.up_blocks", "unet.conv_norm_out", "unet.conv_out"))
    }
    assert encoder | shared | decoder == set(dict(model.named_parameters()))
    assert not encoder & (shared | decoder)
    assert len(shared) == 4


def test_the_condition_comes_first_and_the_noisy_image_is_clean_where_visible():
    model, images, visible = make(), some_images(2, size=8), masks("center_hole", 2, size=8)
    seen = []
    model.unet.conv_in.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    time, noise = torch.tensor([19.0, 5.0]), torch.randn(2, 1, 8, 8, generator=generator(3))
    with torch.no_grad():
        model.encode(images, visible, (time, noise))
    condition, noisy = seen[0][:, :1], seen[0][:, 1:]
    shown = visible.unsqueeze(1)
    assert condition.equal(images * shown)
    assert noisy[shown].equal(images[shown])
    # by hand: the library's schedule at times 19 and 5
    expected = model.scheduler.add_noise(images, noise, time.long())
    assert torch.allclose(noisy[~shown], expected[~shown], atol=1e-6)


def test_palettes_condition_shows_noise_where_pixels_are_hidden():
    model, images, visible = make(hidden_as="noise"), some_images(2, size=8), masks("center_hole", 2, size=8)
    time, noise, fill = model.draw(2, generator(1))
    seen = []
    model.unet.conv_in.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.encode(images, visible, (time, noise, fill))
    assert seen[0][:, :1].equal(torch.where(visible.unsqueeze(1), images, fill))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_perfect_prediction_decodes_to_the_image(prediction, monkeypatch):
    model, images, visible = make(prediction_type=prediction), some_images(3, size=8), masks("center_hole", 3, size=8)
    time, noise = torch.tensor([0.0, 8.0, 15.0]), torch.randn(3, 1, 8, 8, generator=generator())
    level = level_at(model.levels_N, time)
    perfect = what_to_predict(images, noise, level, prediction)
    monkeypatch.setattr(diffusion_unet, "decode", lambda unet, maps, time: perfect)
    with torch.no_grad():
        decoded = model.decode(model.encode(images, visible, (time, noise)), visible)
    assert torch.allclose(decoded, images, atol=1e-4)


# --- loss ---


def test_the_loss_is_the_mean_over_hidden_pixels_of_the_error_of_v():
    # A U-Net that predicts nothing: the loss is the mean of v^2 = (sqrt(level) noise - sqrt(1 - level) x)^2.
    model, images = make(), some_images(2, size=8)
    with torch.no_grad():
        model.unet.conv_out.weight.zero_()
        model.unet.conv_out.bias.zero_()
    visible = torch.ones(2, 8, 8, dtype=torch.bool)
    visible[0, 2:4, 2:5] = False
    visible[1, 7, 7] = False
    time, noise = model.draw(2, generator(4))
    with torch.no_grad():
        loss = model.training_loss(images, visible, generator=generator(4))
    v = model.scheduler.get_velocity(images, noise, time.long())
    assert float(loss[0]) == pytest.approx(float(v[0, 0, 2:4, 2:5].square().mean()), rel=1e-5)
    assert float(loss[1]) == pytest.approx(float(v[1, 0, 7, 7].square()), rel=1e-5)


def test_another_truth_stands_in_the_hole_and_nowhere_else():
    model, images, visible = make(), some_images(2, size=8), masks("center_hole", 2, size=8)
    truth = some_images(2, seed=9, size=8)
    inside = torch.where(visible.unsqueeze(1), images, truth)
    with torch.no_grad():
        given = model.training_loss(images, visible, generator=generator(), truth_BCHW=truth)
        assert given.equal(model.training_loss(images, visible, generator=generator(), truth_BCHW=inside))
        assert given.equal(model.training_loss(inside, visible, generator=generator()))
        assert not given.equal(model.training_loss(images, visible, generator=generator()))


# --- schedule ---


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_formulas_are_the_librarys(prediction):
    scheduler = DDPMScheduler(20, beta_schedule="squaredcos_cap_v2", prediction_type=prediction, clip_sample=False)
    clean, noise = some_images(3, size=8), torch.randn(3, 1, 8, 8, generator=generator())
    time = torch.tensor([0, 9, 17])
    level = level_at(scheduler.alphas_cumprod, time.float())
    noisy, target = add_noise(clean, noise, level), what_to_predict(clean, noise, level, prediction)
    assert torch.allclose(noisy, scheduler.add_noise(clean, noise, time), atol=1e-6)
    expected = noise if prediction == "epsilon" else scheduler.get_velocity(clean, noise, time)
    assert torch.allclose(target, expected, atol=1e-6)
    assert torch.allclose(clean_from(target, noisy, level, prediction), clean, atol=1e-4)
    for row in range(3):
        step = scheduler.step(target[row : row + 1], int(time[row]), noisy[row : row + 1], generator=generator())
        assert torch.allclose(step.pred_original_sample, clean[row : row + 1], atol=1e-4)


def test_a_level_between_two_times_lies_on_the_line():
    levels = torch.tensor([0.9, 0.5, 0.1])
    assert level_at(levels, torch.tensor([0.0, 0.25, 1.5, 2.0])).tolist() == pytest.approx([0.9, 0.8, 0.3, 0.1])


@pytest.mark.parametrize(("emphasis", "mean"), [(0.0, 1 / 2), (1.0, 2 / 3), (3.0, 4 / 5)])
def test_times_have_the_density_that_is_documented(emphasis, mean):
    times = draw_times(40_000, 100, generator(), emphasis=emphasis)
    assert float(times.min()) >= 0
    assert float(times.max()) == 99
    assert times.equal(times.floor())
    # p(s) = (1 + k) s^k: mean (1 + k) / (2 + k), and a share 0.5^(1 + k) below the middle. Whole times lie .5 lower.
    assert float((times + 0.5).mean()) / 100 == pytest.approx(mean, abs=0.005)
    assert float((times < 50).float().mean()) == pytest.approx(0.5 ** (1 + emphasis), abs=0.01)


def test_continuous_times_stay_where_palettes_do():
    times = draw_times(10_000, 20, generator(), continuous=True)
    assert float(times.min()) >= 0
    assert 18.9 < float(times.max()) <= 19
    assert not times.equal(times.floor())


def test_a_perfect_model_samples_the_image(monkeypatch):
    # The model knows x: whatever the steps, ddim ends there.
    model, images, visible = (
        make(num_train_timesteps=100, sampling_steps=10),
        some_images(2, size=8),
        masks("half_left", 2, size=8),
    )

    def perfect(condition, noisy, time):
        level = model.scheduler.alphas_cumprod[int(time)]
        noise = (noisy - level.sqrt() * images) / (1 - level).sqrt()
        return what_to_predict(images, noise, level.view(1), "v_prediction")

    monkeypatch.setattr(model, "_predict", perfect)
    completed = model.complete(images * visible.unsqueeze(1), visible, generator=generator())
    assert torch.allclose(completed, images, atol=1e-3)


# --- what is felt where sampling starts ---


def test_the_forget_term_does_not_vanish_where_sampling_starts():
    # Outside the hole the noisy image is clean and the condition stands beside it: what E is told of the image does
    # not fade with the level. The level itself does: below 0.01 (amplitude 0.1) for the first times of sampling.
    model = make(num_train_timesteps=100, beta_schedule="linear", beta_start=0.001, beta_end=0.2)
    images, visible = some_images(8, size=8), masks("center_hole", 8, size=8)
    noise_image = torch.randn(8, 1, 8, 8, generator=generator(7))
    teacher = make(num_train_timesteps=100, beta_schedule="linear", beta_start=0.001, beta_end=0.2)
    norms = {}
    for time in (99.0, 75.0, 50.0, 25.0):
        draws = (torch.full((8,), time), torch.randn(8, 1, 8, 8, generator=generator(8)))
        model.zero_grad()
        with torch.no_grad():
            target = teacher.encode(noise_image, visible, draws)
        model.encode(images, visible, draws).squared_distance(target).mean().backward()
        squares = [parameter.grad.square().sum() for _, parameter in model.encoder_parameters()]
        norms[time] = math.sqrt(float(torch.stack(squares).sum()))
    assert float(model.levels_N[75]) < 0.01
    assert norms[99.0] > 0.5 * norms[50.0]
    assert norms[75.0] > 0.5 * norms[25.0]


# --- making, loading, saving ---


def test_it_has_palettes_blocks():
    config = make(layers_per_block=2, attention_levels=[1]).unet.config
    assert list(config.down_block_types) == ["ResnetDownsampleBlock2D", "AttnDownBlock2D"]
    assert list(config.up_block_types) == ["AttnUpBlock2D", "ResnetUpsampleBlock2D"]
    assert (config.resnet_time_scale_shift, config.norm_eps) == ("scale_shift", 1e-5)
    assert make().unet.mid_block.attentions[0].group_norm is not None


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_saved_is_read_again_with_its_schedule_and_by_diffusers(variant, tmp_path):
    model = make(**variant)
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.settings == model.settings
    assert again.levels_N.equal(model.levels_N)
    theirs = UNet2DModel.from_pretrained(tmp_path / "model/unet", low_cpu_mem_usage=False)
    assert theirs.conv_in.weight.equal(model.unet.conv_in.weight)
    assert DDPMScheduler.from_pretrained(tmp_path / "model/scheduler").alphas_cumprod.equal(model.levels_N)
    fresh = load_architecture(tmp_path / "model", generator=generator(8))
    assert fresh.settings == model.settings
    assert not fresh.unet.conv_in.weight.equal(model.unet.conv_in.weight)


def test_another_schedule_to_sample_with_is_kept(tmp_path):
    model = make(conditioning="noise_level", sampler="ancestral")
    other = DDPMScheduler(8, beta_start=0.001, beta_end=0.6)
    both = DiffusionInpainter(model.unet, model.scheduler, model.settings, other).eval()
    both.save(tmp_path / "model")
    again, images, visible = load_model(tmp_path / "model"), some_images(2, size=8), masks("center_hole", 2, size=8)
    one, same, single = (completed(each, images, visible) for each in (both, again, model))
    assert one.equal(same)
    assert not one.equal(single)


@pytest.fixture
def saved(tmp_path):
    make().save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"sampler": "euler"}, "sampler='euler' is not known; choose one of: ddim, ancestral"),
        ("config.json", {"size": 3}, "size is not a known key"),
        ("config.json", {"image_size": 8}, "image_size=8 must be height and width in pixels"),
        ("config.json", {"sampling_steps": 3}, "sampling_steps=3 does not divide the schedule's 20 times"),
        ("config.json", {"num_channels": 3}, "in_channels=2, but num_channels=3 and patch_size=1 .* need 6"),
        ("config.json", {"image_size": [8, 9]}, "image size 8x9 is not a multiple of 2"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "prediction_type='sample' is not known"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "laplace"}, "beta_schedule='laplace' is not known"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "sigmoid"}, "scheduler_config.json: beta_schedule="),
        ("scheduler/scheduler_config.json", {"beta_end": 0}, "beta_end=0 must be a number between 0 and 1"),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            "_class_name='FlowMatchEulerDiscreteScheduler' is not known",
        ),
        ("unet/config.json", {"time_embedding_type": "fourier"}, "time_embedding_type='fourier' is not supported"),
        ("unet/config.json", {"down_block_types": ["DownBlock2D", "Nothing"]}, "unet/config.json: .*Nothing"),
        (
            "unet/config.json",
            {"layers_per_block": 2},
            "weights and config.json differ in .* tensors, first down_blocks",
        ),
    ],
)
def test_a_fault_in_a_directory_is_one_line(saved, file, changes, message):
    edit_json(saved / file, **changes)
    assert re.search(message, refused(saved))


@pytest.mark.parametrize("part", ["unet/config.json", "scheduler/scheduler_config.json"])
def test_a_missing_part_is_named(saved, part):
    (saved / part).unlink()
    assert f"{part}: no such file" in refused(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_sise": 2}, "patch_sise is not known to the family diffusion"),
        ({"block_out_channels": 8}, "block_out_channels=8 must be a list of whole numbers"),
        ({"block_out_channels": []}, "block_out_channels is empty"),
        ({"layers_per_block": 0}, "layers_per_block=0 must be a whole number above 0"),
        ({"dropout": "much"}, "dropout='much' must be a number from 0 to below 1"),
        ({"attention_levels": [2]}, "attention_levels names level 2, but block_out_channels has 2"),
        ({"norm_num_groups": 3}, "block_out_channels=8 is not a multiple of norm_num_groups=3"),
        ({"attention_head_dim": 5}, "16 channels, which is not a multiple of attention_head_dim=5"),
        ({"beta_schedule": "linear", "beta_start": 0.5}, "beta_start=0.5 must be above 0 and at most beta_end=0.02"),
        ({"sampling_steps": 6}, "sampling_steps=6 does not divide the schedule's 20 times"),
        ({"block_out_channels": [8] * 5, "attention_head_dim": 8}, "image size 8x8 is not a multiple of 16"),
        ({"patch_size": 8}, "image size 8x8 is not a multiple of 16"),
        ({"prediction_type": "x"}, "prediction_type='x' is not known; choose one of: epsilon, v_prediction"),
    ],
)
def test_a_fault_in_the_architecture_is_one_line(changes, message):
    with pytest.raises(UserError, match=r"^pretrain\.architecture: ") as told:
        make(**changes)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_all_faults_of_kind_are_told_at_once():
    with pytest.raises(UserError) as told:
        make(sampler="none", sampling_steps="many", width=4)
    assert all(word in str(told.value) for word in ("width is not known", "sampler='none'", "sampling_steps='many'"))
