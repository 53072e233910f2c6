from dataclasses import replace

import pytest
import torch

from i2i_unlearn.evaluation.time_loss import NUM_TIMES, time_losses
from i2i_unlearn.models import load_model
from i2i_unlearn.models.base import LossAtTime
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_uint8
from tests.evaluation.audits import guilty
from tests.evaluation.audits.guilty import generator, image_set
from tests.models.latent_directory import write_latent_directory


@pytest.fixture(scope="module", params=["diffusion", "latent_diffusion"])
def model(request, tmp_path_factory):
    """A tiny model with random weights, of either family."""
    if request.param == "diffusion":
        return guilty.make("diffusion")
    return load_model(write_latent_directory(tmp_path_factory.mktemp("latent")))


def set_of(model, num, seed=1):
    shape = (num, model.num_channels, *model.image_size)
    images = to_uint8(torch.rand(shape, generator=generator(seed)) * 2 - 1)
    return image_set(images, make_operator("center_hole", 0.75, 2))


def inputs_of(models, sets):
    return replace(guilty.inputs_of(models, {}), sets=sets, batch_size=2)


def test_at_the_time_that_was_drawn_it_is_the_training_loss(model):
    ((images, visible),) = set_of(model, 3).batches(3, torch.device("cpu"))
    times = model.draw(3, generator(7))[0]
    with torch.no_grad():
        drawn = model.training_loss(images, visible, generator=generator(7))
        last = len(model.levels_N) - 1
        for at, time in enumerate(times.tolist()):
            fixed = model.loss_at(images, visible, time / last, generator=generator(7))
            assert fixed[at].item() == pytest.approx(drawn[at].item(), rel=1e-4)


def test_every_model_is_measured_on_every_set_at_ten_times(model):
    sets = {"forget": set_of(model, 3), "retain": set_of(model, 2, seed=3), "forget_holdout": set_of(model, 0)}
    found = time_losses(inputs_of({"teacher": model, "unlearned": model}, sets))
    assert list(found["teacher"]) == ["forget", "retain"]  # a set without images has no curve
    assert found["teacher"] == found["unlearned"]  # the same model: the same noise
    assert len(found["teacher"]["forget"]["loss"]) == NUM_TIMES
    assert found["teacher"]["forget"]["share"][:2] == [0.05, pytest.approx(0.15)]


def test_a_model_without_times_and_sets_without_images_have_no_curve(model, tiny_model):
    plain = tiny_model()
    assert not isinstance(plain, LossAtTime)
    assert time_losses(inputs_of({"teacher": plain}, {})) == {}
    assert time_losses(inputs_of({"teacher": model}, {"forget": set_of(model, 0)})) == {}
