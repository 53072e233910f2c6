"""The training loop: resume, mixed precision, learning-rate schedule. It knows no objective and no file format.

What a step does is a function of the seed and the step number (sampling.py, randomness.py), so a run that was killed
and resumes from its checkpoint ends with the same bytes as one that was not. Several processes that share a run take a
part of each batch (processes.py); they hold the same weights after every step.
"""

import copy
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from i2i_unlearn.method.objectives.base import Batch, Objective, Phase, State, Targets
from i2i_unlearn.method.processes import ALONE, Processes
from i2i_unlearn.models.randomness import derive_seed
from i2i_unlearn.support.errors import Diverged
from i2i_unlearn.training.checkpoints import Checkpoint
from i2i_unlearn.training.precision import check_precision, short_sums_told

BETAS = (0.9, 0.95)  # of MAE's and MAGE's training (METHOD section 5)
NUM_LOG_ROWS = 200  # enough for a smooth curve, small enough for a checkpoint's header


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast: AdamW, linear warm-up, then cosine decay to zero."""

    num_steps: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    clip_norm: float
    """0 = no clipping."""
    precision: str
    """fp32 | bf16 (autocast)."""
    average_decay: float = 0.0
    """Decay of the moving average of the weights; 0 = none."""
    checkpoint_every_steps: int = 0
    """0 = never."""
    seed: int = 0
    """Of what layers draw, e.g. dropout."""

    def rate(self, step: int, num_steps: int | None = None) -> float:
        """Learning rate of `step`, counted from 0, of `num_steps` (None = those of the run)."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        decay_steps = (self.num_steps if num_steps is None else num_steps) - self.warmup_steps
        progress = (step - self.warmup_steps) / max(decay_steps, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


class Batches(Protocol):
    """Where batches come from."""

    def batches(self, step: int) -> dict[str, Batch]:
        """One batch of each set; a function of the step alone."""
        ...


class Store(Protocol):
    """Where the checkpoint goes."""

    def load(self) -> Checkpoint | None:
        """The last checkpoint, if any."""
        ...

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace it."""
        ...


class Observer(Protocol):
    """Called after every step, and with each logged row."""

    def begin(self, done: int, seconds: float) -> None:
        """The run starts, or resumes after `done` steps that took `seconds`."""
        ...

    def step(self, total: float) -> None:
        """A step was made."""
        ...

    def row(self, row: Mapping[str, float]) -> None:
        """A row of the log was written."""
        ...


class Silent:
    """An observer that does nothing."""

    def begin(self, done: int, seconds: float) -> None:
        """Do nothing."""

    def step(self, total: float) -> None:
        """Do nothing."""

    def row(self, row: Mapping[str, float]) -> None:
        """Do nothing."""


@dataclass
class Run:
    """Everything that changes while training."""

    student: Any
    parameters: list[tuple[str, nn.Parameter]]
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    log: list[dict[str, Any]]
    memory: dict[str, float]
    processes: Processes
    step: int = 0
    seconds: float = 0.0
    """Time spent by earlier, interrupted runs."""
    begun: float = field(default_factory=time.monotonic)


def train(
    student: Any,
    objective: Objective,
    batches: Batches,
    targets: Targets | None,
    schedule: Schedule,
    store: Store,
    observer: Observer,
    processes: Processes = ALONE,
) -> list[dict[str, Any]]:
    """Train `student` in place; return the log, one row every few steps.

    The weights left in `student` are the moving average's if the schedule has one. Of several processes the first
    writes checkpoints, and all go on from them.

    Raises:
        Diverged: the loss is not finite; names the step and the terms.
        UserError: the processes see different checkpoints, or cannot share a batch evenly.
    """
    run = _start(student, objective, schedule, processes)
    _resume(run, store)
    processes.check_same("the step they resume from", run.step, "set checkpoint_uri to a place that all of them reach")
    observer.begin(run.step, run.seconds)
    phases = list(objective.phases(schedule.num_steps))
    every = max(1, schedule.num_steps // NUM_LOG_ROWS)
    student.train()
    warned = schedule.precision != "bf16"
    while run.step < schedule.num_steps:
        with nullcontext() if warned else short_sums_told(student):
            row = _step(run, objective, batches, targets, schedule, _place_of(phases, run.step, schedule.num_steps))
        warned = True
        observer.step(row["total"])
        if run.step % every == 0 or run.step == schedule.num_steps:
            run.log.append(row)
            observer.row(row)
        due = schedule.checkpoint_every_steps and run.step % schedule.checkpoint_every_steps == 0
        if due and processes.is_first:
            store.save(_checkpoint(run))
    student.eval()
    _load_average(run)
    _check_weights(run)
    return run.log


def _start(student: Any, objective: Objective, schedule: Schedule, processes: Processes) -> Run:
    scope = list(student.encoder_parameters() if objective.scope == "encoder" else student.named_parameters())
    names = {name for name, parameter in scope if parameter.requires_grad}
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(name in names)
    parameters = [(name, parameter) for name, parameter in scope if name in names]
    check_precision(parameters)
    optimizer = torch.optim.AdamW(
        [parameter for _, parameter in parameters], betas=BETAS, weight_decay=schedule.weight_decay, fused=True
    )
    average = {name: parameter.detach().clone() for name, parameter in parameters} if schedule.average_decay else {}
    return Run(student, parameters, optimizer, average, [], {}, processes)


def _step(
    run: Run, objective: Objective, batches: Batches, targets: Targets | None, schedule: Schedule, place: "_Place"
) -> dict[str, Any]:
    if place.step == 0:
        _load_average(run)  # at the start of a run that changes nothing
    phase = place.phase
    rate = schedule.rate(place.step, place.num_steps)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    state = State(run.step, phase, run.memory, run.processes)
    parameters = [parameter for _, parameter in run.parameters]
    run.optimizer.zero_grad(set_to_none=True)
    device = parameters[0].device
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=schedule.precision == "bf16")
    mine = {name: batch.part_of(run.processes) for name, batch in batches.batches(run.step).items()}
    with _own_stream(derive_seed(schedule.seed, "layers", run.step, *run.processes.stream), device), autocast:
        terms = objective.terms(mine, run.student, targets, state)
    total = objective.backward(terms, parameters, state)
    shown = _averaged({"total": total, **terms}, parameters, run.processes)
    norm = nn.utils.clip_grad_norm_(parameters, schedule.clip_norm or math.inf)
    values = {name: value.item() for name, value in {**shown, "grad_norm": norm}.items()}
    if not all(math.isfinite(value) for value in values.values()):
        found = ", ".join(f"{name}={value:g}" for name, value in values.items())
        raise Diverged(
            f"step {run.step + 1}: the loss is not finite ({found}); lower learning_rate or set clip_norm. "
            "Earlier outputs were left as they are"
        )
    run.optimizer.step()
    run.step += 1
    _update_average(run, schedule.average_decay, place.step + 1)
    return {"step": run.step, "phase": phase.name, "learning_rate": rate, **values}


def _averaged(
    values: Mapping[str, Tensor], parameters: list[nn.Parameter], processes: Processes
) -> Mapping[str, Tensor]:
    """The values' means over the processes; the gradients become theirs, in place."""
    if processes.size == 1:
        return values
    means = [value.detach().float().clone() for value in values.values()]
    processes.average_(means)
    processes.average_([parameter.grad for parameter in parameters if parameter.grad is not None])
    return dict(zip(values, means, strict=True))


@contextmanager
def _own_stream(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global stream: give each step one of its own, and put the old one back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _check_weights(run: Run) -> None:
    """The loss is looked at before each update; the last update shows in the weights alone."""
    bad = [name for name, parameter in run.parameters if not parameter.isfinite().all()]
    if bad:
        raise Diverged(
            f"step {run.step}: {len(bad)} tensors not finite, first {bad[0]}; lower learning_rate or set clip_norm. "
            "Earlier outputs were left as they are"
        )


@dataclass(frozen=True)
class _Place:
    """The place of a step in its schedule: the run's, or that of a phase with a schedule of its own."""

    phase: Phase
    step: int
    num_steps: int


def _place_of(phases: list[Phase], step: int, num_steps: int) -> _Place:
    start = 0
    for phase in phases:
        if step < start + phase.num_steps or phase is phases[-1]:
            break
        start += phase.num_steps
    return _Place(phase, step - start, phase.num_steps) if phase.own_schedule else _Place(phase, step, num_steps)


@torch.no_grad()
def _update_average(run: Run, decay: float, step: int) -> None:
    """Moving average that starts from the first weights and forgets them quickly; `step` is counted from 1."""
    if not run.average:
        return
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(run.average.values()), [p.detach() for _, p in run.parameters], weight)


@torch.no_grad()
def _load_average(run: Run) -> None:
    for name, parameter in run.parameters:
        if name in run.average:
            parameter.copy_(run.average[name])


def _checkpoint(run: Run) -> Checkpoint:
    tensors = {f"weight/{name}": parameter.detach() for name, parameter in run.parameters}
    tensors |= {f"average/{name}": tensor for name, tensor in run.average.items()}
    tensors |= {f"buffer/{name}": buffer for name, buffer in run.student.named_buffers()}
    for name, parameter in run.parameters:
        for key, value in run.optimizer.state[parameter].items():  # none where a phase has not reached it yet
            tensors[f"optimizer/{key}/{name}"] = value
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return Checkpoint(run.step, tensors, run.log, run.memory, run.seconds + time.monotonic() - run.begun)


@torch.no_grad()
def _resume(run: Run, store: Store) -> None:
    checkpoint = store.load()
    if checkpoint is None:
        return
    for name, parameter in run.parameters:
        parameter.copy_(checkpoint.tensors[f"weight/{name}"])
        keys = {key: f"optimizer/{key}/{name}" for key in ("step", "exp_avg", "exp_avg_sq")}
        if keys["step"] in checkpoint.tensors:
            state = {key: checkpoint.tensors[place] for key, place in keys.items()}
            run.optimizer.state[parameter] = {key: value.to(parameter.device).clone() for key, value in state.items()}
        if name in run.average:
            run.average[name].copy_(checkpoint.tensors[f"average/{name}"])
    for name, buffer in run.student.named_buffers():
        buffer.copy_(checkpoint.tensors[f"buffer/{name}"])
    run.step, run.seconds = checkpoint.step, checkpoint.seconds
    run.log, run.memory = copy.copy(checkpoint.log), copy.copy(checkpoint.memory)
