import pytest
import torch

from i2i_unlearn.method.objectives.ascent_repair import ASCENT, REPAIR, AscentRepair, relative_distance
from i2i_unlearn.method.objectives.base import Settings


def images(*values):
    return torch.tensor(values).view(1, 1, 1, -1)


def test_the_distance_by_hand_counts_hidden_pixels_only():
    # Three pixels, the first visible. Moved (3 - 1)^2 + (2 - 2)^2 = 4; the teacher's error (5 - 1)^2 + (2 - 2)^2 = 16.
    visible = torch.tensor([[[True, False, False]]])
    distance = relative_distance(images(9.0, 3.0, 2.0), images(0.0, 1.0, 2.0), images(7.0, 5.0, 2.0), visible)
    assert distance.item() == 4 / 16


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_distance_has_no_scale(scale):
    visible = torch.zeros(1, 1, 3, dtype=torch.bool)
    given = [torch.rand(1, 1, 1, 3, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    scaled = relative_distance(*(scale * part for part in given), visible)
    assert scaled.item() == pytest.approx(relative_distance(*given, visible).item(), rel=1e-4)


def test_a_teacher_without_error_gives_a_finite_distance():
    same = images(1.0, 2.0)
    visible = torch.zeros(1, 1, 2, dtype=torch.bool)
    assert relative_distance(same, same, same, visible).item() == 0.0


def test_the_ascent_by_hand(written_model, written_targets, pixels, state_of):
    # D(E(x)) = 2 x, the teacher gave 1.5 for x = 1: moved 0.25 of its error 0.25: distance 1, below 2.
    # Loss (2 - 1)^2 = 1, ascended: d/dw = -2 (2 - 1) 1 = -2.
    model, objective, state = written_model(w=2.0), AscentRepair(Settings(alpha=2.0)), state_of(phase=ASCENT)
    batches = {"retain": pixels(5.0), "forget": pixels(1.0)}
    terms = objective.terms(batches, model, written_targets(outputs=[1.5]), state)
    assert objective.backward(terms, [], state).item() == -1.0
    assert model.w.grad.item() == -2.0
    assert state.memory == {"distance": 1.0}


@pytest.mark.parametrize(("phase", "alpha"), [(REPAIR, 100.0), (ASCENT, 1.0)])
def test_the_repair_by_hand_and_it_begins_early_where_the_level_is_reached(
    written_model, written_targets, pixels, state_of, phase, alpha
):
    # Retain x = 5: (10 - 5)^2 = 25, d/dw = 2 * 5 * 5.
    model, objective, state = written_model(w=2.0), AscentRepair(Settings(alpha=alpha)), state_of(phase=phase)
    batches = {"retain": pixels(5.0), "forget": pixels(1.0)}
    terms = objective.terms(batches, model, written_targets(outputs=[1.5]), state)
    assert objective.backward(terms, [], state).item() == 25.0
    assert model.w.grad.item() == 50.0


def test_what_was_reached_once_stays_reached(written_model, written_targets, pixels, state_of):
    # The repair moves outputs back; the ascent must not begin again.
    objective, state = AscentRepair(Settings(alpha=1.0)), state_of(phase=ASCENT, memory={"distance": 1.0})
    batches = {"retain": pixels(5.0), "forget": pixels(1.0)}
    terms = objective.terms(batches, written_model(w=1.5), written_targets(outputs=[1.5]), state)
    assert list(terms) == ["retain"]
