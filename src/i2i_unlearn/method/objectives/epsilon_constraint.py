"""Controllable unlearning: as little forget term as asked for, and no more harm to the rest than that costs.

Feng, Li, Chen, Zhang, Li, Zhou, Zheng, "Controllable Unlearning for Image-to-Image Generative Models via
epsilon-Constrained Optimization", ICLR 2025, arXiv:2408.01689.

    phase I   minimise f_F                      until its boundary: the least forget term
    phase II  minimise f_R   s.t. f_F <= eps    step = gR + lambda gF,
                                                lambda = max(0, (psi - <gR, gF>) / ||gF||^2)

    paper     here            meaning
    f_R       retain          mean_r || E_theta(T(x_r)) - E_0(T(x_r)) ||^2, as in encoder_l2
    f_F       forget          mean_f || E_theta(T(x_f)) - E_0(T(n))   ||^2, as in encoder_l2
    gR, gF                    gradients of f_R and f_F
    lambda    multiplier      the least weight of gF with which f_F falls at the rate psi
    psi       control         how fast f_F has to fall; below 0: how fast it may rise
    eps       bound           boundary + epsilon (start - boundary), epsilon in [0, 1] from the settings

epsilon = 0 keeps the least forget term, 1 allows the original's; each between is a point of the Pareto front. psi may
be any function with the sign of f_F - eps; ours is

    psi = gain (f_F - eps) / (start - boundary) ||gR|| ||gF||

so that scaling a term, or both, changes no step's direction. A batch's f_F is noisy: eps is compared with its running
mean. start is the first batch's f_F, boundary the running mean where phase I ends; the noise target's own variance
(where its mean is not taken) is in both and cancels. alpha has no meaning here. Costs one more backward pass.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from i2i_unlearn.method.objectives.base import Batch, Phase, Settings, State, Targets, needed, two_phases
from i2i_unlearn.method.objectives.encoder_l2 import encoder_terms
from i2i_unlearn.models.base import ImageToImage

# Of gains 3 and 10 and decays 0, .5 and .8, these held f_F steady with little lag (digits MAE, 150 steps).
GAIN = 3.0  # a third of the range above eps asks for a fall as steep as both gradients allow together
DECAY = 0.5  # of the running mean: about two batches
BOUNDARY, CONSTRAINT = "boundary", "constraint"


def control(excess: float, span: float, retain_norm: Tensor, forget_norm: Tensor) -> Tensor:
    """psi: the rate at which f_F has to fall. `excess` = f_F - eps, `span` = start - boundary."""
    return GAIN * excess / span * retain_norm * forget_norm


def multiplier(psi: Tensor, inner: Tensor, forget_norm: Tensor) -> Tensor:
    """lambda: with gR + lambda gF, f_F falls at the rate psi or faster. `inner` = <gR, gF>."""
    return ((psi - inner) / forget_norm.square()).clamp(min=0)


class EpsilonConstraint:
    """Forget all that can be forgotten, then win back what the bound allows."""

    needs = frozenset({"retain", "forget"})

    def __init__(self, settings: Settings) -> None:
        self.epsilon = settings.epsilon
        self.first_phase = settings.first_phase
        self.scope = settings.encoder_scope("epsilon_constraint")

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """To the boundary, then along the constraint."""
        return two_phases(num_steps, self.first_phase, BOUNDARY, CONSTRAINT)

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """f_R and f_F in both phases: the curve of f_R says what the first one costs."""
        given = needed(targets, "epsilon_constraint")
        return encoder_terms(batches, student, given, lambda _: given.of_noise(batches["forget"]))

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Phase I: gF. Phase II: gR + lambda gF."""
        memory, value = state.memory, _mean(terms["forget"], state)
        memory.setdefault("start", value)
        memory["running"] = DECAY * memory.get("running", value) + (1 - DECAY) * value
        if state.phase.name == BOUNDARY:
            memory["boundary"] = memory["running"]
            terms["forget"].backward()
            return terms["forget"]
        trained = list(parameters)
        retain_g, forget_g = _gradients(terms["retain"], trained, keep=True), _gradients(terms["forget"], trained)
        for gradients in (retain_g, forget_g):  # lambda is not a linear function of them
            state.processes.average_(gradients)
        span = max(memory["start"] - memory["boundary"], 1e-6 * memory["start"], 1e-12)  # where phase I went nowhere
        bound = memory["boundary"] + self.epsilon * span
        forget_norm = _norm(forget_g).clamp(min=1e-12)  # f_F at its very minimum
        psi = control(memory["running"] - bound, span, _norm(retain_g), forget_norm)
        inner = torch.stack([(r * f).sum() for r, f in zip(retain_g, forget_g, strict=True)]).sum()
        weight = multiplier(psi, inner, forget_norm)
        for parameter, r, f in zip(trained, retain_g, forget_g, strict=True):
            parameter.grad = r + weight * f
        total: Tensor = terms["retain"] + weight * terms["forget"]
        return total.detach()


def _mean(term: Tensor, state: State) -> float:
    mean = term.detach().clone()
    state.processes.average_([mean])
    return mean.item()


def _gradients(term: Tensor, parameters: list[nn.Parameter], *, keep: bool = False) -> list[Tensor]:
    """The gradient of one term; zeros for what it does not depend on. `keep`: the other term is still to come."""
    found = torch.autograd.grad(term, parameters, retain_graph=keep, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def _norm(gradients: list[Tensor]) -> Tensor:
    return torch.stack([part.square().sum() for part in gradients]).sum().sqrt()
