"""Images per second of the unlearning loop, and the share of its time in data, teacher, student and optimiser.

    python -m benchmarks.unlearn_throughput [--steps 100] [--repeats 3]

The loop is the product's own (engine.train with the settings of params.yaml) on random images of the demo's size; data,
targets and objective are wrapped by clocks. Filling the target cache is timed apart: a run pays it once.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from i2i_unlearn.config import PretrainConfig, UnlearnConfig, load_params
from i2i_unlearn.engine import num_threads, pick_device, train
from i2i_unlearn.models import family_named
from i2i_unlearn.models.base import Embedding
from i2i_unlearn.noise import fit_noise
from i2i_unlearn.objectives import make_objective
from i2i_unlearn.objectives.base import Batch, Objective, Phase, Settings, State, Targets
from i2i_unlearn.operators import make_operator
from i2i_unlearn.pixels import to_float
from i2i_unlearn.randomness import generator_for
from i2i_unlearn.sampling import Sampler, single_pool
from i2i_unlearn.stages.training import schedule_of
from i2i_unlearn.targets import TeacherTargets

NUM_FORGET, NUM_RETAIN = 400, 3600  # as in the demo


class Clock:
    """Adds up seconds under names; waits for the GPU so that work is counted where it was asked for."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, call: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun
        return result


class TimedBatches:
    def __init__(self, inner: Sampler, clock: Clock) -> None:
        self._inner, self._clock = inner, clock

    def batches(self, step: int) -> dict[str, Batch]:
        result: dict[str, Batch] = self._clock.timed("data", lambda: self._inner.batches(step))
        return result


class TimedTargets:
    def __init__(self, inner: Targets, clock: Clock) -> None:
        self._inner, self._clock = inner, clock

    def of_images(self, name: str, batch: Batch) -> Embedding:
        result: Embedding = self._clock.timed("teacher", lambda: self._inner.of_images(name, batch))
        return result

    def of_noise(self, batch: Batch) -> Embedding:
        result: Embedding = self._clock.timed("teacher", lambda: self._inner.of_noise(batch))
        return result


class TimedObjective:
    """Times forward and backward of the student; the teacher's share is taken off at the end."""

    def __init__(self, inner: Objective, clock: Clock) -> None:
        self._inner, self._clock = inner, clock
        self.scope, self.needs = inner.scope, inner.needs

    def phases(self, num_steps: int) -> Sequence[Phase]:
        return self._inner.phases(num_steps)

    def terms(
        self, batches: Mapping[str, Batch], student: Any, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        result: dict[str, Tensor] = self._clock.timed(
            "forward", lambda: self._inner.terms(batches, student, targets, state)
        )
        return result

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        result: Tensor = self._clock.timed("backward", lambda: self._inner.backward(terms, parameters, state))
        return result


class Nothing:
    """No checkpoint, nobody watching."""

    def load(self) -> None: ...
    def save(self, checkpoint: Any) -> None: ...
    def begin(self, done: int, seconds: float) -> None: ...
    def step(self, total: float) -> None: ...
    def row(self, row: Mapping[str, Any]) -> None: ...


def measure(steps: int) -> dict[str, float]:
    """One run of the loop: seconds by part, and images per second."""
    params = load_params()
    original = PretrainConfig.from_params(params)
    config = UnlearnConfig.from_params({**params, "unlearn": {**params["unlearn"], "num_steps": steps}})
    device = pick_device(config.device)
    operator = make_operator(config.operator, config.keep_fraction, config.operator_patch_size)
    teacher = family_named(original.family).create(
        original.architecture,
        image_size=original.image_size,
        num_channels=original.num_channels,
        generator=generator_for(0, "benchmark"),
    )
    shape = (original.num_channels, original.image_size, original.image_size)
    pixels = torch.randint(0, 256, (NUM_FORGET + NUM_RETAIN, *shape), generator=generator_for(0, "pixels"))
    images = pixels.to(torch.uint8).to(device)
    pools = {
        "forget": single_pool(images[:NUM_FORGET], config.batch_size),
        "retain": single_pool(images[NUM_FORGET:], config.batch_size),
    }
    clock, student = Clock(), copy.deepcopy(teacher).to(device)
    sampler = Sampler(pools, operator, config.seed)
    targets = TeacherTargets(
        teacher.to(device).requires_grad_(False),
        operator,
        fit_noise(to_float(images[:NUM_FORGET].cpu()), covariance="identity", mean="zero", patch_size=0),
        {name: pool.images_BCHW for name, pool in pools.items()},
        seed=config.seed,
        num_noise_draws=config.num_noise_draws,
        cache_bytes=config.cache_bytes,
    )
    first = sampler.batches(0)
    filling = Clock()
    filling.timed("fill", lambda: (targets.of_images("retain", first["retain"]), targets.of_noise(first["forget"])))
    begun = time.perf_counter()
    with num_threads(config.num_threads):
        train(
            student,
            TimedObjective(make_objective(config.objective, Settings(alpha=config.alpha)), clock),
            TimedBatches(sampler, clock),
            TimedTargets(targets, clock),
            schedule_of(config),
            Nothing(),
            Nothing(),
        )
    total = time.perf_counter() - begun
    parts = {
        "data": clock.seconds["data"],
        "teacher": clock.seconds["teacher"],
        # terms() draws no data but asks the teacher; the batch is drawn before it
        "student": clock.seconds["forward"] + clock.seconds["backward"] - clock.seconds["teacher"],
    }
    parts["optimiser"] = total - sum(parts.values())
    return {
        **parts,
        "total": total,
        "fill": filling.seconds["fill"],
        "images_per_s": steps * 2 * config.batch_size / total,
    }


def main() -> None:
    """Print the medians of several runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="optimizer updates in a run")
    parser.add_argument("--repeats", type=int, default=3, help="runs; medians are printed")
    arguments = parser.parse_args()
    runs = [measure(arguments.steps) for _ in range(arguments.repeats)]
    median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    cpu = f"CPU, threads: {load_params()['num_threads']}"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    print(f"unlearning loop of params.yaml on {device}: {median['images_per_s']:.0f} images/s")
    print(f"once, before the first step: filling the target cache {median['fill']:.2f} s")
    print("part       ms a step   share")
    for name in ("data", "teacher", "student", "optimiser"):
        print(f"{name:<10} {1e3 * median[name] / arguments.steps:9.2f}   {median[name] / median['total']:5.1%}")


if __name__ == "__main__":
    main()
