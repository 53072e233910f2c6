import torch

from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.objectives.label_baselines import MaxLoss, max_loss


def test_value_by_hand():
    # retain = mean(1, 3) = 2; forget = -mean(4, 6) = -5.
    terms = max_loss(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 6.0]))
    assert {name: term.item() for name, term in terms.items()} == {"retain": 2.0, "forget": -5.0}


def test_the_step_by_hand(written_model, pixels, state_of):
    # D(E(x)) = 3 x, loss = (3 x - x)^2 = 4 x^2. Retain x = 1, 2: mean(4, 16) = 10; forget x = 1: 4.
    # Total = 10 - 0.5 * 4. d loss / d w = 2 (3 x - x) x = 4 x^2: retain mean(4, 16) = 10, forget 4.
    model, objective = written_model(w=3.0), MaxLoss(Settings(alpha=0.5))
    batches = {"retain": pixels(1.0, 2.0), "forget": pixels(1.0)}
    terms = objective.terms(batches, model, None, state_of())
    assert objective.backward(terms, [], state_of()).item() == 10 - 0.5 * 4
    assert model.w.grad.item() == 10 - 0.5 * 4


def test_a_step_makes_the_forget_images_worse(written_model, pixels, state_of):
    model, objective = written_model(w=1.5), MaxLoss(Settings(alpha=10.0))
    batches = {"retain": pixels(1.0), "forget": pixels(1.0)}
    objective.backward(objective.terms(batches, model, None, state_of()), [], state_of())
    assert model.w.grad.item() < 0  # a step against it raises w, away from 1
