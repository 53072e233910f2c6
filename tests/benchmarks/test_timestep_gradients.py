import math

import pytest
import torch

from benchmarks.timestep_gradients import (
    Batch,
    bins,
    density,
    draws_at,
    gradient_norm,
    gradient_rows,
    gradient_table,
    plot,
    prediction_change,
    without_condition,
)
from i2i_unlearn.models.diffusion.model import DiffusionInpainter
from i2i_unlearn.models.operators import make_operator


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(seed=0):
    """A tiny model whose image fades: at the last time its amplitude is below a thousandth."""
    architecture = {
        **{"block_out_channels": [8, 16], "norm_num_groups": 4, "attention_head_dim": 8, "num_train_timesteps": 100},
        **{"beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.3, "sampling_steps": 5},
    }
    return DiffusionInpainter.create(architecture, image_size=8, num_channels=1, generator=generator(seed)).eval()


@pytest.fixture(scope="module")
def batch():
    visible = make_operator("center_hole", 0.75, 1).draw(8, 8, 8, generator())
    images = torch.rand(8, 1, 8, 8, generator=generator(1)) * 2 - 1
    return Batch(images, torch.randn(8, 1, 8, 8, generator=generator(2)), visible)


def test_times_lie_evenly_in_their_bin():
    times, noise = draws_at(make(), 0.5, 0.6, 5, generator())
    assert times.tolist() == [51, 53, 55, 57, 59]
    assert noise.shape == (5, 1, 8, 8)


def test_densities_are_those_of_the_draws():
    # p(s) = 2 s for emphasis 1: 1 - .9^2 = .19 in the last bin
    assert density(0.9, 1.0, 1.0) == pytest.approx(0.19)
    for emphasis in (0.0, 1.0, 3.0):
        assert sum(density(low, high, emphasis) for low, high in bins()) == pytest.approx(1)
    times = make().draw(20_000, generator(), emphasis=3.0)[0]
    assert float((times >= 90).float().mean()) == pytest.approx(density(0.9, 1.0, 3.0), abs=0.01)


def test_the_norm_is_that_of_the_gradient_of_the_forget_term(batch):
    model, draws = make(), make().draw(8, generator())
    found = gradient_norm(model, batch, draws)
    # A step of size h against the gradient lowers the term by h |g|, to first order.
    with torch.no_grad():
        target = model.encode(batch.noise_BCHW, batch.visible_BHW, draws)
    before = model.encode(batch.images_BCHW, batch.visible_BHW, draws).squared_distance(target).mean()
    before.backward()
    with torch.no_grad():
        for _, parameter in model.encoder_parameters():
            parameter -= 1e-3 / found * parameter.grad
        after = model.encode(batch.images_BCHW, batch.visible_BHW, draws).squared_distance(target).mean()
    assert float(before.detach() - after) == pytest.approx(1e-3 * found, rel=0.05)


def test_the_gradient_stays_where_sampling_starts_and_vanishes_without_the_condition(batch):
    rows = gradient_rows(make(), batch, 0)
    first, last = rows[0], rows[-1]
    assert last["amplitude"] < 0.01
    assert last["gradient"] > 0.3 * first["gradient"]
    assert last["gradient_without_condition"] < 0.02 * first["gradient_without_condition"]


def test_without_condition_everything_is_hidden(batch):
    assert not without_condition(batch).visible_BHW.any()
    assert without_condition(batch).images_BCHW is batch.images_BCHW


def test_a_model_changes_no_prediction_of_its_own(batch):
    draws = make().draw(8, generator())
    assert prediction_change(make(), make(), batch, draws) == 0
    assert prediction_change(make(), make(1), batch, draws) > 0.1


def test_table_and_plot_have_every_bin(tmp_path):
    rows = [
        {"from": low, "to": high, "amplitude": 0.5, "gradient": 2.0, "gradient_without_condition": 1.0}
        for low, high in bins()
    ]
    lines = gradient_table(rows, [0.0, 1.0]).splitlines()
    assert len(lines) == 2 + len(rows)
    assert lines[-1] == "| 0.9-1.0 | 0.500 | 2.0000 | 1.0000 | 10% | 19% |"
    plot(rows, [0.0, 1.0], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert math.isclose(sum(row["gradient"] for row in rows), 20)
