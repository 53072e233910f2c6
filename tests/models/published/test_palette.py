"""Palette's public files. That the network computes as the original does: tests/models/test_diffusion_palette.py."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from i2i_unlearn.models import load_model
from i2i_unlearn.models.diffusion.palette import SCHEDULE_BUFFERS
from i2i_unlearn.models.published import convert_checkpoint
from i2i_unlearn.models.published.palette import PaletteOptions, architecture_of, shapes_of
from i2i_unlearn.models.published.reading import Content
from i2i_unlearn.support.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden/palette"
OPTIONS = {
    "image_size": 16,
    "num_head_channels": 16,
    "res_blocks": 1,
    "linear_start": 1e-4,
    "linear_end": 0.2,
    "test_n_timestep": 8,
    "test_linear_start": 1e-3,
    "test_linear_end": 0.6,
}


def close(found, expected):
    return torch.allclose(found, expected, atol=5e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN / "io.safetensors")


@pytest.fixture(scope="module")
def model():
    return convert_checkpoint(GOLDEN / "checkpoint.pth", OPTIONS).model


def test_the_network_predicts_the_published_noise(model, golden):
    from i2i_unlearn.models.diffusion import unet

    level = golden["train.noise_level"].flatten()
    with torch.no_grad():
        maps = unet.encode(model.unet, golden["train.network_input"], level)
        assert close(unet.decode(model.unet, maps, level), golden["train.predicted_noise"])


def test_it_is_trained_by_one_schedule_and_samples_by_the_other(model, golden, tmp_path):
    model.save(tmp_path / "model")
    for one in (model, load_model(tmp_path / "model")):
        assert torch.allclose(one.scheduler.alphas_cumprod, golden["schedule_train.gammas"], rtol=1e-6)
        assert torch.allclose(one.sampling_scheduler.alphas_cumprod, golden["schedule_test.gammas"], rtol=1e-6)
        assert one.settings.sampling_steps == 8
        visible = golden["mask"][:, 0] == 0
        with torch.no_grad():
            completed = one.complete(golden["y_0"], visible, generator=torch.Generator().manual_seed(0))
        assert completed.isfinite().all()
        assert completed[visible[:, None].expand_as(completed)].equal(
            golden["y_0"][visible[:, None].expand_as(completed)]
        )


def test_saved_and_loaded_again_it_has_the_same_bits(model, tmp_path):
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model").state_dict()
    assert all(tensor.equal(again[name]) for name, tensor in model.state_dict().items())


def file_with(tmp_path, change):
    state = torch.load(GOLDEN / "checkpoint.pth", weights_only=True)
    change(state)
    torch.save(state, tmp_path / "7_Network.pth")
    return tmp_path / "7_Network.pth"


def without_buffers(state):
    for name in SCHEDULE_BUFFERS:
        del state[name]


def with_teacher(state):
    state.update({f"teacher_{name}": tensor + 1 for name, tensor in state.items() if name.startswith("denoise_fn.")})


@pytest.mark.parametrize(("change", "notes"), [(without_buffers, 0), (with_teacher, 1)])
def test_averaged_files_and_those_of_the_unlearning_code_hold_the_same_network(model, tmp_path, change, notes):
    made = convert_checkpoint(file_with(tmp_path, change), OPTIONS)
    assert len(made.notes) == notes
    assert all(tensor.equal(made.model.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("file", "entries"), [("keys_network", 332), ("keys_network_ema", 326)])
def test_the_real_network_leaves_nothing_out_and_nothing_over(file, entries):
    keys = json.loads((GOLDEN / f"{file}.json").read_text())
    assert len(keys) == entries
    network = {name: shape for name, shape in keys.items() if name not in SCHEDULE_BUFFERS}
    tensors = {name: torch.empty(shape, device="meta") for name, shape in network.items()}
    architecture = architecture_of(Content(Path("public.pth"), tensors, {}), PaletteOptions())
    assert shapes_of(architecture, 256) == {name: tuple(shape) for name, shape in network.items()}
    assert architecture.block_out_channels == (64, 128, 256, 512)
    assert architecture.attention_levels == ()


def test_the_published_schedules_are_the_defaults(golden):
    from i2i_unlearn.models.published.palette import NUM_TIMES, _schedule

    given = PaletteOptions()
    train = _schedule(NUM_TIMES, given.linear_start, given.linear_end)
    test = _schedule(given.test_n_timestep, given.test_linear_start, given.test_linear_end)
    assert torch.allclose(train.alphas_cumprod, golden["schedule_real_train.gammas"], rtol=1e-4)
    assert torch.allclose(test.alphas_cumprod, golden["schedule_real_test.gammas"], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({**OPTIONS, "linear_end": 0.1}, "was trained by another schedule than the linear one from 0.0001 to 0.1"),
        ({**OPTIONS, "res_blocks": 2}, "4 input blocks are not whole levels of 2"),
        ({**OPTIONS, "res_blocks": 3}, "missing|left over|another shape"),
        ({**OPTIONS, "size": 3}, "snapshot.checkpoint.size: Extra inputs .* a Palette takes image_size"),
    ],
)
def test_options_that_do_not_fit_are_told(options, told):
    with pytest.raises(UserError, match=told):
        convert_checkpoint(GOLDEN / "checkpoint.pth", options)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("denoise_fn.out.2.bias"), "denoise_fn.out.2.bias is missing"),
        (
            lambda state: state.pop("denoise_fn.middle_block.1.qkv.weight"),
            "middle_block.1.qkv.weight is missing",
        ),
        (lambda state: state.update({"denoise_fn.more": torch.zeros(1)}), "denoise_fn.more is left over"),
        (
            lambda state: state.update({"denoise_fn.out.2.bias": torch.zeros(4)}),
            "out.2.bias is of another shape",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, change, told):
    with pytest.raises(UserError, match=told):
        convert_checkpoint(file_with(tmp_path, change), OPTIONS)
