"""Runs a training from its inputs to its written model, for pretrain, unlearn and reference."""

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import i2i_unlearn
from i2i_unlearn.config.sections import TrainingConfig
from i2i_unlearn.method.objectives.base import Objective, Targets
from i2i_unlearn.method.processes import ALONE, Processes
from i2i_unlearn.models.own import code_digest
from i2i_unlearn.support.device import num_threads
from i2i_unlearn.support.files import atomic_folder, digest_files, digest_folder, write_json
from i2i_unlearn.support.progress import Advance, progress
from i2i_unlearn.training.checkpoints import Checkpoints
from i2i_unlearn.training.engine import Batches, Observer, Schedule, Silent, train

Facts = dict[str, float | str]
Stream = Callable[[Mapping[str, Any]], None]
"""Receives each row of the log while training runs (live metrics)."""


def run_digest(stage: str, config: TrainingConfig, **inputs: str) -> str:
    """The key of a run's checkpoint: a digest of everything that decides its result, code and torch included."""
    package = Path(i2i_unlearn.__file__).parent
    code = {"code": digest_files(sorted(package.rglob("*.py")), package), "torch": torch.__version__}
    own = {"own_code": code_digest(config.model)} if config.model else {}
    content = {"stage": stage, "config": config.digest(), **code, **own, **inputs}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def schedule_of(config: TrainingConfig, average_decay: float = 0.0) -> Schedule:
    """The part of the config that the engine reads."""
    return Schedule(
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup_steps,
        clip_norm=config.clip_norm,
        precision=config.precision,
        average_decay=average_decay,
        checkpoint_every_steps=config.checkpoint_every_steps,
        seed=config.seed,
    )


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained, on which images, towards what."""

    stage: str
    inputs: Mapping[str, str]
    """Digests of what the stage reads; they name its checkpoint, together with config and code."""
    student: Any
    objective: Objective
    batches: Batches
    targets: Targets | None = None
    average_decay: float = 0.0
    """Decay of the moving average of the weights; 0 = none."""
    processes: Processes = ALONE
    finish: Callable[[], None] = lambda: None
    """Changes the trained student before it is saved."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where the result goes, and what is told about it."""

    folder: str | Path
    facts: Callable[[Path], Facts]
    """What the stage adds to the summary, given the folder of the saved model; it may refuse the model."""
    begun: float
    """When the stage began (time.monotonic), so that seconds count everything the stage did."""
    stream: Stream | None = None


def train_and_write(training: Training, config: TrainingConfig, output: Output) -> Facts:
    """Train, then write model/, steps.jsonl and summary.json, whole or not at all; return the summary.

    Of several processes the first alone writes and shows progress; the others return {}.

    Raises:
        UserError: a damaged checkpoint, a loss that is not finite, or what `output.facts` refuses.
    """
    student, processes = training.student, training.processes
    store = Checkpoints(config.checkpoint_uri, run_digest(training.stage, config, **training.inputs))
    schedule = schedule_of(config, training.average_decay)

    def trained(observer: Observer) -> list[dict[str, Any]]:
        return train(
            student, training.objective, training.batches, training.targets, schedule, store, observer, processes
        )

    if not processes.is_first:
        with num_threads(config.num_threads):
            trained(Silent())
        return {}
    # The output folder is opened first: a full disk or a missing right shows before the training, not after it.
    with atomic_folder(output.folder) as aside, _watch(training.stage, config.num_steps, output.stream) as observer:
        with num_threads(config.num_threads):
            log = trained(observer)
            student.cpu()
            training.finish()
        student.save(aside / "model")
        (aside / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
        summary = {
            **output.facts(aside / "model"),
            "model_sha256": digest_folder(aside / "model"),
            "config_digest": config.digest(),
            "operator": config.operator,
            "keep_fraction": config.keep_fraction,
            "operator_patch_size": config.operator_patch_size,
            "seed": config.seed,
            "steps": config.num_steps,
            "resumed_from_step": observer.resumed_from,
            "seconds": round(time.monotonic() - output.begun + observer.seconds_before, 3),
            "peak_memory_bytes": peak_memory_bytes(),
        }
        write_json(aside / "summary.json", summary)
    store.delete()
    return summary


def peak_memory_bytes() -> int:
    """Largest memory of the process so far: of the GPU where one was used, else resident."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024


class _Watcher:
    """Meets engine.Observer: advances a bar and streams rows."""

    def __init__(self, description: str, num_steps: int, stream: Stream | None) -> None:
        self.resumed_from = 0
        self.seconds_before = 0.0
        self._description = description
        self._num_steps = num_steps
        self._stream = stream
        self._bar: Any = None
        self._advance: Advance | None = None

    def begin(self, done: int, seconds: float) -> None:
        self.resumed_from, self.seconds_before = done, seconds
        if done:
            print(f"{self._description}: resuming after step {done} of {self._num_steps}", file=sys.stderr)
        self._bar = progress(self._description, self._num_steps, done)
        self._advance = self._bar.__enter__()

    def step(self, total: float) -> None:
        if self._advance:
            self._advance(1, f"loss {total:.4f}")

    def row(self, row: Mapping[str, Any]) -> None:
        if self._stream:
            self._stream(row)

    def close(self) -> None:
        if self._bar:
            self._bar.__exit__(None, None, None)


@contextmanager
def _watch(description: str, num_steps: int, stream: Stream | None) -> Iterator[_Watcher]:
    watcher = _Watcher(description, num_steps, stream)
    try:
        yield watcher
    finally:
        watcher.close()
