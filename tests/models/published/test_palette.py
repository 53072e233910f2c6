"""Palette's public files. That the network computes as the original does: tests/models/test_diffusion_palette.py."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from i2i_unlearn.models import load_model
from i2i_unlearn.models.diffusion.palette_keys import SCHEDULE_BUFFERS
from i2i_unlearn.models.published import convert_checkpoint
from i2i_unlearn.models.published.palette import PaletteOptions, architecture_of, shapes_of
from i2i_unlearn.models.published.reading import Content
from tests.models.published.files import PALETTE, changed, converted, file_of, same_weights, without

GOLDEN = file_of("palette").parent


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN / "io.safetensors")


@pytest.fixture(scope="module")
def model():
    return converted("palette")


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
        shown = visible[:, None].expand_as(completed)
        assert completed[shown].equal(golden["y_0"][shown])


def with_teacher(state):
    return state | {f"teacher_{name}": tensor + 1 for name, tensor in state.items() if name not in SCHEDULE_BUFFERS}


@pytest.mark.parametrize(("change", "notes"), [(without("|".join(SCHEDULE_BUFFERS)), 0), (with_teacher, 1)])
def test_averaged_files_and_those_of_the_unlearning_code_hold_the_same_network(model, tmp_path, change, notes):
    made = convert_checkpoint(changed("palette", tmp_path / "7_Network.pth", change), PALETTE)
    assert len(made.notes) == notes
    assert same_weights(model, made.model)


@pytest.mark.parametrize(("file", "entries"), [("keys_network", 332), ("keys_network_ema", 326)])
def test_the_real_network_leaves_nothing_out_and_nothing_over(file, entries):
    keys = json.loads((GOLDEN / f"{file}.json").read_text())
    assert len(keys) == entries
    network = {name: shape for name, shape in keys.items() if name not in SCHEDULE_BUFFERS}
    tensors = {name: torch.empty(shape, device="meta") for name, shape in network.items()}
    architecture = architecture_of(Content(Path("public.pth"), tensors, {}), PaletteOptions(image_size=256))
    assert shapes_of(architecture, 256) == {name: tuple(shape) for name, shape in network.items()}
    assert architecture.block_out_channels == (64, 128, 256, 512)
    assert architecture.attention_levels == ()


def test_the_published_schedules_are_the_defaults(golden):
    from i2i_unlearn.models.published.palette import NUM_TIMES, _schedule

    given = PaletteOptions(image_size=256)
    train = _schedule(NUM_TIMES, given.linear_start, given.linear_end)
    test = _schedule(given.test_n_timestep, given.test_linear_start, given.test_linear_end)
    assert torch.allclose(train.alphas_cumprod, golden["schedule_real_train.gammas"], rtol=1e-4)
    assert torch.allclose(test.alphas_cumprod, golden["schedule_real_test.gammas"], rtol=1e-4, atol=1e-9)
