import math

import pytest
import torch

from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.objectives.epsilon_constraint import (
    BOUNDARY,
    CONSTRAINT,
    DECAY,
    GAIN,
    EpsilonConstraint,
    control,
    multiplier,
)


def test_the_multiplier_by_hand():
    # <gR, gF> = -2, ||gF|| = 2. psi = 6: (6 + 2) / 4 = 2; psi = 0: only the harm of gR is undone, 1/2; psi = -3: none.
    inner, norm = torch.tensor(-2.0), torch.tensor(2.0)
    found = [multiplier(torch.tensor(psi), inner, norm).item() for psi in (6.0, 0.0, -3.0)]
    assert found == [2.0, 0.5, 0.0]


def test_psi_by_hand_and_its_sign_is_that_of_the_excess():
    # gain * 0.1 / 2 * 3 * 4
    norms = torch.tensor(3.0), torch.tensor(4.0)
    assert control(0.1, 2.0, *norms).item() == pytest.approx(GAIN * 0.05 * 12)
    assert control(-0.1, 2.0, *norms).item() == pytest.approx(-GAIN * 0.05 * 12)
    assert control(0.0, 2.0, *norms).item() == 0.0


class Plane:
    """f_R = (a - 1)^2 + c^2, f_F = (a + 1)^2 of two weights: retaining and forgetting pull a apart, c is free."""

    def __init__(self, a, c=0.0):
        self.a, self.c = (torch.nn.Parameter(torch.tensor(value)) for value in (a, c))

    def terms(self):
        return {"retain": (self.a - 1).square() + self.c.square(), "forget": (self.a + 1).square()}

    def gradient(self, objective, state):
        total = objective.backward(self.terms(), [self.a, self.c], state)
        return total.item(), self.a.grad.item(), self.c.grad.item()


def objective(epsilon=0.5):
    return EpsilonConstraint(Settings(alpha=0.0, epsilon=epsilon))


def test_the_first_phase_follows_the_forget_term_alone_and_remembers(state_of):
    state = state_of(phase=BOUNDARY)
    plane = Plane(1.0, 5.0)
    plane.terms()["forget"].backward()
    plane.a.grad = None
    assert objective().backward(plane.terms(), [plane.a, plane.c], state).item() == 4.0
    assert (plane.a.grad.item(), plane.c.grad) == (4.0, None)
    assert state.memory == {"start": 4.0, "running": 4.0, "boundary": 4.0}
    with torch.no_grad():
        plane.a.fill_(0.0)
    objective().backward(plane.terms(), [plane.a, plane.c], state)
    falling = DECAY * 4 + (1 - DECAY) * 1
    assert state.memory == pytest.approx({"start": 4.0, "running": falling, "boundary": falling})


def test_within_the_bound_only_the_retain_term_counts(state_of):
    # a = -0.9: f_F = 0.01, far below the bound (0 + 4) / 2.
    state = state_of(phase=CONSTRAINT, memory={"start": 4.0, "boundary": 0.0, "running": 0.01})
    total, by_a, by_c = Plane(-0.9, 3.0).gradient(objective(0.5), state)
    assert (total, by_a, by_c) == pytest.approx((1.9**2 + 9, 2 * -1.9, 6.0))


def test_on_the_bound_the_step_leaves_the_forget_term_as_it_is(state_of):
    # a = 0, f_F = 1 = bound: gR = (-2, 6), gF = (2, 0): lambda = 4 / 4 = 1, and what is left is along c.
    state = state_of(phase=CONSTRAINT, memory={"start": 4.0, "boundary": 0.0, "running": 1.0})
    total, by_a, by_c = Plane(0.0, 3.0).gradient(objective(0.25), state)
    assert (total, by_a, by_c) == pytest.approx((10 + 1 * 1, 0.0, 6.0))


def test_beyond_the_bound_the_forget_term_falls_at_the_rate_psi(state_of):
    # a = 1: f_F = 4; bound 1, running 4, span 4. gR = (0, 6), gF = (4, 0): psi = gain * 3 / 4 * 6 * 4 = <step, gF>.
    state = state_of(phase=CONSTRAINT, memory={"start": 4.0, "boundary": 0.0, "running": 4.0})
    _, by_a, by_c = Plane(1.0, 3.0).gradient(objective(0.25), state)
    assert (by_a * 4, by_c) == pytest.approx((GAIN * 0.75 * 24, 6.0))


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_scaling_both_terms_changes_no_direction(state_of, factor):
    def direction(scale):
        memory = {"start": 4.0 * scale, "boundary": 0.0, "running": 3.0 * scale}
        plane = Plane(0.7, 3.0)
        terms = {name: scale * term for name, term in plane.terms().items()}
        objective(0.25).backward(terms, [plane.a, plane.c], state_of(phase=CONSTRAINT, memory=memory))
        return plane.a.grad.item() / plane.c.grad.item()

    assert direction(factor) == pytest.approx(direction(1.0), rel=1e-3)


@pytest.mark.parametrize("epsilon", [0.0, 0.2, 0.6, 1.0])
def test_descent_ends_on_the_front_where_epsilon_says(state_of, epsilon):
    # From a = 1 the boundary f_F = 0 lies at a = -1; f_F = epsilon * 4 at a = 2 sqrt(epsilon) - 1, and c goes to 0.
    memory, plane = {}, Plane(1.0, 1.0)
    optimizer = torch.optim.SGD([plane.a, plane.c], lr=0.02)
    for step in range(1200):
        state = state_of(step, BOUNDARY if step < 300 else CONSTRAINT, memory)
        optimizer.zero_grad(set_to_none=True)
        objective(epsilon).backward(plane.terms(), [plane.a, plane.c], state)
        optimizer.step()
    assert plane.a.item() == pytest.approx(2 * math.sqrt(epsilon) - 1, abs=0.1)
    assert plane.c.item() == pytest.approx(0.0, abs=0.05)


def test_at_the_very_minimum_of_the_forget_term_the_step_is_finite(state_of):
    state = state_of(phase=CONSTRAINT, memory={"start": 4.0, "boundary": 0.0, "running": 4.0})
    assert Plane(-1.0, 3.0).gradient(objective(), state)[1:] == pytest.approx((-4.0, 6.0))


def test_a_first_phase_that_went_nowhere_gives_a_finite_step(state_of):
    state = state_of(phase=CONSTRAINT, memory={"start": 4.0, "boundary": 4.0, "running": 4.0})
    assert all(map(math.isfinite, Plane(0.0, 3.0).gradient(objective(), state)))
