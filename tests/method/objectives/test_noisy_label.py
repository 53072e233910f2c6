import pytest
import torch

from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.objectives.noisy_label import NoisyLabel, noisy_label


def test_value_by_hand():
    terms = noisy_label(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 6.0]))
    assert {name: term.item() for name, term in terms.items()} == {"retain": 2.0, "forget": 5.0}


def test_the_step_by_hand(written_model, written_targets, pixels, state_of):
    # D(E(x)) = 2 x. Retain x = 3: (6 - 3)^2 = 9. Forget x = 1 and 2, noise 4 and 4: (2 - 4)^2, (4 - 4)^2: mean 2.
    # Total = 9 + 0.5 * 2. d/dw = 2 (output - truth) x: retain 2 * 3 * 3 = 18; forget mean(-4, 0) = -2.
    model, objective = written_model(w=2.0), NoisyLabel(Settings(alpha=0.5))
    batches = {"retain": pixels(3.0), "forget": pixels(1.0, 2.0)}
    terms = objective.terms(batches, model, written_targets(noise_images=[4.0, 4.0]), state_of())
    assert {name: term.item() for name, term in terms.items()} == {"retain": 9.0, "forget": 2.0}
    assert objective.backward(terms, [], state_of()).item() == 10.0
    assert model.w.grad.item() == 18 - 0.5 * 2


def test_the_noise_is_another_at_every_step(tiny_model, batches_of, targets_of, state_of):
    model, targets = tiny_model(1), targets_of(tiny_model(2))
    objective = NoisyLabel(Settings(alpha=1.0))
    steps = (0, 1, 0)
    found = [objective.terms(batches_of(step=step), model, targets, state_of(step))["forget"].item() for step in steps]
    assert found[0] == found[2] != found[1]


def test_without_targets_it_is_a_bug(pixels, state_of):
    with pytest.raises(TypeError, match="needs the targets' noise"):
        NoisyLabel(Settings(alpha=1.0)).terms({}, None, None, state_of())
