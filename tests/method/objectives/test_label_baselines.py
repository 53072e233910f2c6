import pytest
import torch

from i2i_unlearn.method.objectives import make_objective
from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.objectives.label_baselines import truth_of


@pytest.mark.parametrize(
    ("name", "w", "retain", "forget", "noise", "terms", "by_w"),
    [
        # D(E(x)) = 3 x, loss = (3 x - x)^2 = 4 x^2. Retain x = 1, 2: mean(4, 16) = 10; forget x = 1: 4, ascended.
        # d loss / d w = 2 (3 x - x) x = 4 x^2: retain mean(4, 16) = 10, forget -4.
        ("max_loss", 3.0, (1.0, 2.0), (1.0,), (), (10.0, -4.0), (10, -4)),
        # D(E(x)) = 2 x. Retain x = 3: (6 - 3)^2 = 9. Forget x = 1 and 2, noise 4 and 4: (2 - 4)^2, (4 - 4)^2: mean 2.
        # d/dw = 2 (output - truth) x: retain 2 * 3 * 3 = 18; forget mean(-4, 0) = -2.
        ("noisy_label", 2.0, (3.0,), (1.0, 2.0), (4.0, 4.0), (9.0, 2.0), (18, -2)),
        # D(E(x)) = 2 x. Retain x = 1, 3: (2 - 1)^2, (6 - 3)^2: mean 5. Forget x = 4 with the first retain image as its
        # truth: (8 - 1)^2 = 49. d/dw = 2 (output - truth) x: retain mean(2, 18) = 10; forget 56.
        ("retain_label", 2.0, (1.0, 3.0), (4.0,), (), (5.0, 49.0), (10, 56)),
    ],
)
def test_the_step_by_hand(
    written_model, written_targets, pixels, state_of, name, w, retain, forget, noise, terms, by_w
):
    model, objective = written_model(w=w), make_objective(name, Settings(alpha=0.5))
    batches = {"retain": pixels(*retain), "forget": pixels(*forget)}
    found = objective.terms(batches, model, written_targets(noise_images=noise), state_of())
    assert (found["retain"].item(), found["forget"].item()) == terms
    assert objective.backward(found, [], state_of()).item() == terms[0] + 0.5 * terms[1]
    assert model.w.grad.item() == by_w[0] + 0.5 * by_w[1]


def test_a_step_of_max_loss_makes_the_forget_images_worse(written_model, pixels, state_of):
    model, objective = written_model(w=1.5), make_objective("max_loss", Settings(alpha=10.0))
    batches = {"retain": pixels(1.0), "forget": pixels(1.0)}
    objective.backward(objective.terms(batches, model, None, state_of()), [], state_of())
    assert model.w.grad.item() < 0  # a step against it raises w, away from 1


def test_the_noise_is_another_at_every_step(tiny_model, batches_of, targets_of, state_of):
    model, targets = tiny_model(1), targets_of(tiny_model(2))
    objective = make_objective("noisy_label", Settings(alpha=1.0))
    steps = (0, 1, 0)
    found = [objective.terms(batches_of(step=step), model, targets, state_of(step))["forget"].item() for step in steps]
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize(("num_forget", "expected"), [(1, [1]), (2, [1, 3]), (5, [1, 3, 1, 3, 1])])
def test_too_few_retain_images_serve_again(num_forget, expected):
    retain = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    assert truth_of(num_forget, retain).flatten().tolist() == expected
