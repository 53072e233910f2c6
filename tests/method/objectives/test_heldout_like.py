import pytest
import torch

from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.objectives.heldout_like import HeldoutLike, heldout_like
from i2i_unlearn.models.base import Embedding


def of(*values):
    return Embedding((torch.tensor(values).view(-1, 1, 1),))


def test_value_by_hand():
    # retain = (2 - 1)^2 = 1; forget = mean((2 - 3)^2, (5 - 2)^2) = 5.
    terms = heldout_like(of(2.0), of(1.0), of(2.0, 5.0), of(3.0, 2.0))
    assert {name: term.item() for name, term in terms.items()} == {"retain": 1.0, "forget": 5.0}


def test_the_step_by_hand(written_model, written_targets, pixels, state_of):
    # E(x) = 2 x. Retain x = 1, target 1: (2 - 1)^2 = 1, d/dw = 2. Forget x = 3, unseen 4: (6 - 4)^2 = 4, d/dw = 12.
    model, objective = written_model(w=2.0), HeldoutLike(Settings(alpha=0.5))
    batches = {"retain": pixels(1.0), "forget": pixels(3.0), "unseen_target": pixels(0.0)}
    terms = objective.terms(batches, model, written_targets(retain=[1.0], unseen=[4.0]), state_of())
    assert objective.backward(terms, [], state_of()).item() == 1 + 0.5 * 4
    assert model.w.grad.item() == 2 + 0.5 * 12
    assert model.v.grad is None


def test_other_unseen_images_give_another_target(tiny_model, batches_of, sets, targets_of, state_of):
    teacher, student = tiny_model(2), tiny_model(1)
    targets, changed = targets_of(teacher), targets_of(teacher)
    changed._images = {**sets, "unseen_target": 255 - sets["unseen_target"]}
    one, other = (
        HeldoutLike(Settings(alpha=1.0)).terms(batches_of(), student, given, state_of())["forget"]
        for given in (targets, changed)
    )
    assert not one.equal(other)


def test_without_targets_it_is_a_bug(state_of):
    with pytest.raises(TypeError, match="needs the teacher's targets"):
        HeldoutLike(Settings(alpha=1.0)).terms({}, None, None, state_of())
