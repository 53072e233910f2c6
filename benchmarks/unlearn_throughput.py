"""Images per second of the unlearning loop, where its time goes, and how it compares with a naive loop.

    python -m benchmarks.unlearn_throughput [--family mae]      parts of a step
    python -m benchmarks.unlearn_throughput --compare naive     against naive.py, in pairs
    python -m benchmarks.unlearn_throughput --compare workers   two processes of one thread against one of two

The loop is the product's own (engine.train) with the sizes that benchmarks/quality/settings.yaml gives the family. In
the first form data, targets and objective are wrapped by clocks. What is computed once (cached targets, codes) is
timed apart. What was found: docs/results/throughput.md.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu_cases import Watcher
from benchmarks.naive import make_plan, run_naive, write_files
from benchmarks.pairs import Pair, in_pairs, median, timed
from benchmarks.setting import Setting, make_setting, params_of, run_ours
from benchmarks.workers import images_per_s, worker
from i2i_unlearn.method.objectives.base import Batch, Objective, Phase, State, Targets
from i2i_unlearn.method.targets import TeacherTargets
from i2i_unlearn.models import FAMILIES
from i2i_unlearn.models.base import Embedding
from i2i_unlearn.support.device import num_threads
from i2i_unlearn.training.engine import train
from i2i_unlearn.training.run import schedule_of
from i2i_unlearn.training.sampling import Sampler


class Clock:
    """Adds up seconds under names."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, call: Callable[[], Any]) -> Any:
        results = []
        spent = timed(lambda: results.append(call()))
        self.seconds[name] = self.seconds.get(name, 0.0) + spent.wall_s
        return results[0]


class TimedBatches:
    def __init__(self, inner: Sampler, clock: Clock) -> None:
        self._inner, self._clock = inner, clock

    def batches(self, step: int) -> dict[str, Batch]:
        result: dict[str, Batch] = self._clock.timed("data", lambda: self._inner.batches(step))
        return result


class TimedTargets:
    """Times what encoder_l2 asks for."""

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


def filled(setting: Setting) -> tuple[Sampler, TeacherTargets, float]:
    """Batches and targets with all that is computed once, and the seconds that took."""
    made: list[Any] = []

    def fill() -> None:
        sampler, targets = setting.sampler(), setting.targets()
        first = sampler.batches(0)
        targets.of_images("retain", first["retain"])
        targets.of_noise(first["forget"])
        made.extend((sampler, targets))

    seconds = timed(fill).wall_s
    return made[0], made[1], seconds


def measure_parts(setting: Setting, sampler: Sampler, targets: Targets, steps: int) -> dict[str, float]:
    """Seconds of one run of the loop, by part."""
    clock = Clock()
    config = setting.config.model_copy(update={"num_steps": steps})
    total = timed(
        lambda: train(
            setting.student(),
            TimedObjective(setting.objective(), clock),
            TimedBatches(sampler, clock),
            TimedTargets(targets, clock),
            schedule_of(config),
            Watcher(),
            Watcher(),
        )
    ).wall_s
    spent = clock.seconds
    # terms() draws no data but asks the teacher; the batch is drawn before it
    student = {"student forward": spent["forward"] - spent["teacher"], "student backward": spent["backward"]}
    parts = {"data": spent["data"], "teacher": spent["teacher"], **student}
    return {**parts, "optimiser": total - sum(parts.values()), "total": total}


def print_parts(setting: Setting, steps: int, repeats: int) -> None:
    """Medians of several runs."""
    sampler, targets, fill_s = filled(setting)
    runs = [measure_parts(setting, sampler, targets, steps) for _ in range(repeats)]
    middle = {name: median([run[name] for run in runs]) for name in runs[0]}
    rate = steps * 2 * setting.config.batch_size / middle["total"]
    print(f"{rate:.0f} images/s; once, before the first step: preparing targets {fill_s:.2f} s")
    print("part             ms per step   share")
    for name, seconds in middle.items():
        print(f"{name:<17} {1e3 * seconds / steps:10.2f}   {seconds / middle['total']:6.1%}")


def print_comparison(setting: Setting, steps: int, num_pairs: int) -> None:
    """Ratios of the naive loop's time to ours, pair by pair, and their medians."""
    with tempfile.TemporaryDirectory() as folder:
        files, plan = write_files(setting, Path(folder)), make_plan(setting, steps)
        sampler, targets, fill_s = filled(setting)
        run_naive(setting, files, make_plan(setting, 1))  # both are warm now
        pairs = in_pairs(
            lambda: run_ours(setting, sampler, targets, steps), lambda: run_naive(setting, files, plan), num_pairs
        )
    print("ms per step: ours  naive   ratio   by processor time: ours  naive   ratio")
    for pair in pairs:
        wall = [1e3 * time.wall_s / steps for time in (pair.ours, pair.theirs)]
        processor = [1e3 * time.processor_s / steps for time in (pair.ours, pair.theirs)]
        print(f"{wall[0]:17.1f} {wall[1]:6.1f} {pair.wall_ratio:7.2f}", end="")
        print(f"{processor[0]:27.1f} {processor[1]:6.1f} {pair.processor_ratio:7.2f}")
    by_clock, by_processor = (median(list(ratios)) for ratios in zip(*map(_ratios, pairs), strict=True))
    print(f"median of {num_pairs} pairs of {steps} steps: {by_clock:.2f} by the clock, {by_processor:.2f} by processor")
    runs = setting.config.num_steps / steps  # how much longer a whole run is
    whole = median([runs * pair.theirs.wall_s / (fill_s + runs * pair.ours.wall_s) for pair in pairs])
    print(
        f"a whole run of {setting.config.num_steps} steps, with {fill_s:.2f} s for what is computed once: {whole:.2f}"
    )


def _ratios(pair: Pair) -> tuple[float, float]:
    return pair.wall_ratio, pair.processor_ratio


def print_workers(family: str, steps: int, num_pairs: int) -> None:
    """Images per second of one process of two threads and of two processes of one thread, in turns."""
    print("images/s: one process of two threads   two processes of one thread   ratio")
    ratios = []
    for _ in range(num_pairs):
        together, apart = images_per_s(family, [2], steps), images_per_s(family, [1, 1], steps)
        ratios.append(apart / together)
        print(f"{together:38.0f} {apart:29.0f} {ratios[-1]:7.2f}")
    print(f"median ratio of {num_pairs} pairs: {median(ratios):.2f}")


def main() -> None:
    """Print what was measured, with the device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=list(FAMILIES), default="mae")
    parser.add_argument("--data", default="digits", help="whose sizes: a data set of benchmarks/quality/settings.yaml")
    parser.add_argument("--compare", choices=["naive", "workers"], help="measure against something, in pairs")
    parser.add_argument("--steps", type=int, default=50, help="optimizer updates in a run")
    parser.add_argument("--repeats", type=int, default=5, help="runs, or pairs of runs")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of our loop")
    parser.add_argument("--threads", type=int, default=1, help="torch threads, of both loops")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.family, arguments.worker, arguments.steps)
        return
    if arguments.compare == "workers":
        print_workers(arguments.family, arguments.steps, arguments.repeats)
        return
    with num_threads(arguments.threads):
        setting = make_setting(params_of(arguments.family, arguments.data), precision=arguments.precision)
        show = {None: print_parts, "naive": print_comparison}[arguments.compare]
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        threads, size = arguments.threads, setting.config.batch_size
        what = f"{arguments.family} ({arguments.data}), {arguments.precision}, {device}"
        print(f"{what}, threads: {threads}, batch 2 x {size}")
        show(setting, arguments.steps, arguments.repeats)


if __name__ == "__main__":
    main()
