import pytest
import torch

from i2i_unlearn.method.objectives.base import Batch, Phase, State
from i2i_unlearn.method.objectives.own_loss import OwnLoss
from i2i_unlearn.models.base import TrainingPhase
from i2i_unlearn.models.operators import make_operator


class ListeningModel:
    """Its loss of each image is a number drawn from the generator that it was given."""

    def training_loss(self, images_BCHW, visible_BHW, *, generator):
        return torch.rand(len(images_BCHW), generator=generator)


def state(step):
    return State(step, Phase("train", 10), {})


def batch(num):
    generator = torch.Generator().manual_seed(0)
    visible = make_operator("center_hole", 0.75, 4).draw(num, 16, 16, generator)
    return Batch(torch.rand(num, 1, 16, 16, generator=generator), visible, torch.arange(num), 0)


def test_it_is_the_mean_of_the_familys_loss(tiny_model):
    model, images = tiny_model(), batch(5)
    terms = OwnLoss(0).terms({"train": images}, model, None, state(0))
    alone = [
        model.training_loss(images.images_BCHW[i : i + 1], images.visible_BHW[i : i + 1], generator=None).item()
        for i in range(5)
    ]
    assert terms["loss"].item() == pytest.approx(sum(alone) / 5, rel=1e-5)


def test_every_step_has_its_own_stream_of_random_numbers():
    # What a step draws must not depend on earlier steps, or an interrupted run would end elsewhere.
    def loss(seed, step):
        return OwnLoss(seed).terms({"train": batch(3)}, ListeningModel(), None, state(step))["loss"].item()

    assert loss(0, 4) == loss(0, 4)
    assert len({loss(0, 4), loss(0, 5), loss(1, 4)}) == 3


def test_it_trains_everything(tiny_model):
    model = tiny_model()
    objective = OwnLoss(0)
    terms = objective.terms({"train": batch(3)}, model, None, state(0))
    total = objective.backward(terms, [], state(0))
    assert total is terms["loss"]
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == trainable
    assert (objective.scope, objective.needs) == ("all", {"train"})
    assert objective.phases(7) == [Phase("train", 7)]


def zero(model, images_BCHW, visible_BHW, *, generator):
    return torch.zeros(len(images_BCHW))


def one(model, images_BCHW, visible_BHW, *, generator):
    return torch.ones(len(images_BCHW))


def steps(objective, num_steps):
    return [(phase.name, phase.num_steps) for phase in objective.phases(num_steps)]


def test_a_family_with_phases_is_trained_by_the_loss_of_each():
    objective = OwnLoss(0, (TrainingPhase("zero", 0.3, zero), TrainingPhase("one", 0.7, one)))
    phases = objective.phases(10)
    assert all(phase.own_schedule for phase in phases)
    assert steps(objective, 10) == [("zero", 3), ("one", 7)]
    losses = [objective.terms({"train": batch(3)}, None, None, State(0, phase, {}))["loss"].item() for phase in phases]
    assert losses == [0.0, 1.0]


@pytest.mark.parametrize("num_steps", [2, 3, 7, 10, 1000])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_phases_make_up_the_run_and_none_is_left_out(num_steps, share):
    objective = OwnLoss(0, (TrainingPhase("zero", share, zero), TrainingPhase("one", 1 - share, one)))
    counts = [count for _, count in steps(objective, num_steps)]
    assert sum(counts) == num_steps
    assert min(counts) >= 1


def test_a_run_of_one_step_has_no_room_for_two_phases():
    objective = OwnLoss(0, (TrainingPhase("zero", 0.5, zero), TrainingPhase("one", 0.5, one)))
    assert sum(count for _, count in steps(objective, 1)) == 1
