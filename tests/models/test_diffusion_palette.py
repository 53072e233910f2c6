"""The public Palette U-Net against ours, on the golden data in tests/golden/palette.

These files are copied from the golden set: numbers that the published implementation made with seeded random weights
in float32 on a CPU. checkpoint.pth has the layout of the public files; keys_network_ema.json names the tensors of the
real network. Tolerance of the golden set: 5e-5 + 1e-5 relative.
"""

import json

import pytest
import torch
from safetensors.torch import load_file

from i2i_unlearn.models.diffusion import unet as diffusion_unet
from i2i_unlearn.models.diffusion.model import UNet2DModel
from i2i_unlearn.models.diffusion.palette_keys import SCHEDULE_BUFFERS, convert
from i2i_unlearn.models.diffusion.settings import Architecture
from tests.models.published.files import converted, file_of

GOLDEN = file_of("palette").parent


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN / "io.safetensors")


@pytest.fixture(scope="module")
def palette():
    """The golden network as our model."""
    return converted("palette").eval()


def near(found, expected):
    return torch.allclose(found, expected, atol=5e-5, rtol=1e-5)


def test_the_embedding_of_the_noise_level_is_palettes(palette, golden):
    with torch.no_grad():
        level = golden["train.noise_level"].flatten()
        assert near(palette.unet.time_embedding(palette.unet.time_proj(level)), golden["train.cond_embedding"])


def test_skip_features_middle_block_and_predicted_noise_are_palettes(palette, golden):
    level = golden["train.noise_level"].flatten()
    with torch.no_grad():
        maps = diffusion_unet.encode(palette.unet, golden["train.network_input"], level)
        predicted = diffusion_unet.decode(palette.unet, maps, level)
    assert len(maps) == 5
    for number in range(4):
        assert near(maps[number], golden[f"train.skip{number}"])
    assert near(maps[4], golden["train.middle_block"])
    assert near(predicted, golden["train.predicted_noise"])


def draws_of(golden):
    """Ours from Palette's: its time t and share u lie between the whole times t - 1 and t."""
    condition = golden["y_cond"]
    return golden["t"].float() - 1 + golden["gamma_draw"].flatten(), golden["noise"], condition


def test_a_training_pair_is_made_as_palette_makes_it(palette, golden):
    visible = golden["mask"][:, 0] == 0
    with torch.no_grad():
        embedding = palette.encode(golden["y_0"], visible, draws_of(golden))
    level, noisy = embedding.context[1:]
    assert near(level, golden["train.noise_level"].flatten())
    assert near(torch.where(visible[:, None], golden["y_0"], golden["train.y_noisy"]), noisy)
    for number in range(4):
        assert near(embedding.maps[number], golden[f"train.skip{number}"])


def test_the_loss_is_palettes_but_for_the_area_it_is_taken_over(palette, golden, monkeypatch):
    # Palette divides by all pixels, ours by the hidden ones: loss = mean over images of ours x hidden share.
    monkeypatch.setattr(palette, "draw", lambda num, generator: draws_of(golden))
    visible = golden["mask"][:, 0] == 0
    with torch.no_grad():
        loss = palette.training_loss(golden["y_0"], visible, generator=torch.Generator())
    share = (~visible).float().mean((1, 2))
    assert torch.allclose((loss * share).mean(), golden["train.loss"], rtol=1e-5)


def test_gradients_are_palettes(palette, golden, monkeypatch):
    monkeypatch.setattr(palette, "draw", lambda num, generator: draws_of(golden))
    visible = golden["mask"][:, 0] == 0
    palette.zero_grad()
    loss = palette.training_loss(golden["y_0"], visible, generator=torch.Generator())
    (loss * (~visible).float().mean((1, 2))).mean().backward()
    expected = {k: v for k, v in json.loads((GOLDEN / "grad_norms.json").read_text()).items() if ".qkv." not in k}
    # The names travel through `convert`; a tensor that carries the norm keeps it, for all but qkv, which is cut.
    carried = convert(
        {name: torch.full((1, 1, 1), value or 0.0) for name, value in expected.items()},
        num_levels=2,
        layers_per_block=1,
        head_dim=16,
    )
    largest = max(value or 0.0 for value in expected.values())
    parameters = dict(palette.unet.named_parameters())
    for name, norm in carried.items():
        wanted = float(norm)
        assert abs(float(parameters[name].grad.norm()) - wanted) <= 1e-3 * wanted + 1e-5 * largest, name


def test_a_sampling_run_is_palettes_step_by_step(palette, golden):
    # Palette samples by another schedule than it was trained with. Each step is taken from the golden state.
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(8, beta_start=1e-3, beta_end=0.6, beta_schedule="linear", timestep_spacing="trailing")
    scheduler.set_timesteps(8)
    states, noises = golden["sample.y_t"], golden["sample_noise"]
    visible = golden["mask"] == 0
    for number, time in enumerate(scheduler.timesteps):
        level = scheduler.alphas_cumprod[time]
        with torch.no_grad():
            predicted = palette._predict(golden["y_cond"], states[number], level)
        assert near(predicted, golden["sample.predicted_noise"][number])
        generator = torch.Generator().manual_seed(1)
        after = scheduler.step(predicted, int(time), states[number], generator=generator).prev_sample
        if number < len(noises):  # put the golden noise in the place of the generator's
            drawn = torch.randn(after.shape, generator=torch.Generator().manual_seed(1))
            after = after + scheduler._get_variance(int(time)).sqrt() * (noises[number] - drawn)
        assert near(torch.where(visible, golden["y_0"], after), states[number + 1])


def test_every_tensor_of_the_real_network_has_its_place_and_shape():
    shapes = json.loads((GOLDEN / "keys_network_ema.json").read_text())
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    made = Architecture(
        block_out_channels=(64, 128, 256, 512), layers_per_block=2, attention_head_dim=32, norm_num_groups=32
    )
    with torch.device("meta"):
        unet = UNet2DModel.from_config(made.unet_config(256, 3))
    ours = {name: tensor.shape for name, tensor in unet.state_dict().items()}
    found = {n: t.shape for n, t in convert(state, num_levels=4, layers_per_block=2, head_dim=32).items()}
    assert found == ours
    assert round(sum(shape.numel() for shape in ours.values()) / 1e6, 1) == 62.6  # million parameters


def test_the_schedule_of_a_public_file_is_left_out():
    state = {name: torch.zeros(20) for name in SCHEDULE_BUFFERS}
    assert convert(state, num_levels=2, layers_per_block=1, head_dim=16) == {}
