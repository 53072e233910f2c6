import pytest
import torch

from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.objectives.retain_label import RetainLabel, retain_label, truth_of


def test_value_by_hand():
    terms = retain_label(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 6.0]))
    assert {name: term.item() for name, term in terms.items()} == {"retain": 2.0, "forget": 5.0}


def test_the_step_by_hand(written_model, pixels, state_of):
    # D(E(x)) = 2 x. Retain x = 1, 3: (2 - 1)^2, (6 - 3)^2: mean 5. Forget x = 4 with the truths 1 and 3 of the retain
    # images: only the first is used: (8 - 1)^2 = 49. d/dw = 2 (output - truth) x: retain mean(2, 18) = 10; forget 56.
    model, objective = written_model(w=2.0), RetainLabel(Settings(alpha=0.5))
    batches = {"retain": pixels(1.0, 3.0), "forget": pixels(4.0)}
    terms = objective.terms(batches, model, None, state_of())
    assert {name: term.item() for name, term in terms.items()} == {"retain": 5.0, "forget": 49.0}
    assert objective.backward(terms, [], state_of()).item() == 5 + 0.5 * 49
    assert model.w.grad.item() == 10 + 0.5 * 56


@pytest.mark.parametrize(("num_forget", "expected"), [(1, [1]), (2, [1, 3]), (5, [1, 3, 1, 3, 1])])
def test_too_few_retain_images_serve_again(num_forget, expected):
    retain = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    assert truth_of(num_forget, retain).flatten().tolist() == expected
