"""What the stage `evaluate` costs next to the bare passes of models and extractor, and how its memory grows.

    python -m benchmarks.evaluation_cost [--family mae] [--images 10000] [--tiny]

The stage runs as it is, without audits, on synthetic images of 32 px: teacher and unlearned model with the sizes that
benchmarks/quality/settings.yaml gives the family for CIFAR-10, and the embedded extractor. Every image is decoded,
completed twice and embedded three times. Next to some of its batches, right before or after in turns, the bare passes
run on the same images: `complete` of both models, the extractor on the originals and on both completions, nothing else.
Such a batch in the stage and its bare twin are a pair. The cost is

    median over pairs of (batch in the stage / bare)  +  all that the stage does between batches / bare passes of all

so decoding, intervals, pictures, report, the start of the stage and the family's own loss (where a family needs a
second pass for it) are in it. By processor time and by wall time. Peak memory is that of fresh processes, for all
images and for a tenth of them; the bare passes then are left out.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.evaluation_cost_project import Project, config_for, make_project
from benchmarks.pairs import Time, median, timed
from i2i_unlearn.evaluation.metrics.observe import Seen, SetObserver
from i2i_unlearn.models import FAMILIES
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.stages import evaluate

GOAL = 1.2
_MIB = 2**20
_TINY_MODEL = {
    **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
    **{"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2},
}
TINY: dict[str, Any] = {
    "pretrain": {"architecture": _TINY_MODEL},
    "evaluate": {"batch_size": 10, "num_bootstrap": 20},
}


@dataclass(frozen=True)
class Run:
    """One evaluation."""

    num_images: int
    total: Time
    """Of the stage, bare passes taken off."""
    pairs: list[tuple[Time, Time]]
    """Of batches: in the stage, bare."""
    between: Time
    """Of the stage, between batches."""
    bare_images: int
    """Images of all pairs."""
    peak_bytes: int

    def cost(self, clock: str) -> dict[str, float]:
        """Ratios to the bare passes, by `wall_s` or `processor_s`: of batches, of the rest, and their sum."""
        batches = median([getattr(ours, clock) / getattr(bare, clock) for ours, bare in self.pairs])
        bare_s = sum(getattr(bare, clock) for _, bare in self.pairs) * self.num_images / self.bare_images
        rest = getattr(self.between, clock) / bare_s
        return {"batches": batches, "rest": rest, "cost": batches + rest}


class _Clock:
    """Times an evaluation from inside, and runs the bare passes next to every `every`-th batch (0 = never)."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.count = 0
        self.bare_images = 0
        self.ours: list[Time] = []
        self.pairs: list[tuple[Time, Time]] = []

    def see(self, observer: SetObserver, images_BCHW: Tensor, visible_BHW: Tensor) -> Seen:
        """What the observer sees of a batch."""
        seen: list[Seen] = []

        def ours() -> None:
            seen.append(SetObserver.see(observer, images_BCHW, visible_BHW))

        def bare() -> None:
            _bare_passes(observer, images_BCHW, visible_BHW)

        self.count += 1
        # The first batch warms both up.
        if not self.every or self.count == 1 or self.count % self.every:
            self.ours.append(timed(ours))
            return seen[0]
        if len(self.pairs) % 2:
            bare_time = timed(bare)
            self.ours.append(timed(ours))
        else:
            self.ours.append(timed(ours))
            bare_time = timed(bare)
        self.pairs.append((self.ours[-1], bare_time))
        self.bare_images += len(images_BCHW)
        return seen[0]


@torch.inference_mode()
def _bare_passes(observer: SetObserver, images_BCHW: Tensor, visible_BHW: Tensor) -> None:
    images, visible = images_BCHW.to(observer.device), visible_BHW.to(observer.device)
    observer.extractor(images_BCHW)
    for model in observer.models.values():
        observer.extractor(model.complete(images, visible, generator=generator_for(0, "bare")))


def measure(project: Project, num_images: int, every: int) -> Run:
    """Run the stage once."""
    clock = _Clock(every)

    class Timed(SetObserver):
        def see(self, images_BCHW: Tensor, visible_BHW: Tensor) -> Seen:
            return clock.see(self, images_BCHW, visible_BHW)

    real, evaluate.SetObserver = evaluate.SetObserver, Timed  # type: ignore[misc]
    try:
        whole = timed(lambda: evaluate.run(**project.arguments()))
    finally:
        evaluate.SetObserver = real  # type: ignore[misc]
    bare = _sum([bare for _, bare in clock.pairs])
    total = Time(whole.wall_s - bare.wall_s, whole.processor_s - bare.processor_s)
    inside = _sum(clock.ours)
    between = Time(total.wall_s - inside.wall_s, total.processor_s - inside.processor_s)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Run(num_images, total, clock.pairs, between, clock.bare_images, peak)


def _sum(times: list[Time]) -> Time:
    return Time(sum(time.wall_s for time in times), sum(time.processor_s for time in times))


def in_fresh_process(num_images: int, every: int, shared: list[str]) -> dict[str, Any]:
    """What an evaluation in a process of its own found; its inputs were made in another."""
    command = [sys.executable, "-m", "benchmarks.evaluation_cost", *shared]
    command += ["--images", str(num_images), "--every", str(every)]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*command, "--make", folder], check=True)
        ended = subprocess.run([*command, "--worker", folder], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def worker(project: Project, num_images: int, every: int) -> dict[str, Any]:
    """Measure in this process, as plain numbers."""
    run = measure(project, num_images, every)
    clocks = {clock: run.cost(clock) for clock in ("processor_s", "wall_s")} if run.pairs else {}
    return {"num_pairs": len(run.pairs), "total": asdict(run.total), "peak_bytes": run.peak_bytes, **clocks}


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=list(FAMILIES), default="mae")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=5, help="batches for one that has a bare twin")
    parser.add_argument("--tiny", action="store_true", help="tiny models and 100 images: shows that it works")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    changes = TINY if given.tiny else {}
    if given.make:
        make_project(given.make, given.images, given.family, changes)
        return
    if given.worker:
        project = Project(given.worker, config_for(given.images, given.family, changes))
        print(json.dumps(worker(project, given.images, given.every)))
        return
    num_images = 100 if given.tiny else given.images
    shared = ["--family", given.family, *(["--tiny"] if given.tiny else [])]
    begun = time.monotonic()
    few = in_fresh_process(num_images // 10, 0, shared)
    many = in_fresh_process(num_images, given.every, shared)
    print(f"{given.family}, {num_images} images, {many['num_pairs']} pairs, {time.monotonic() - begun:.0f} s")
    for clock in ("processor_s", "wall_s"):
        parts = many[clock]
        print(
            f"by {clock.removesuffix('_s'):<10} {parts['cost']:.3f} of the bare passes (goal {GOAL}): "
            f"batches {parts['batches']:.3f}, rest {parts['rest']:.3f}"
        )
    print(f"stage: {many['total']['processor_s']:.0f} s of processor time")
    peaks = [found["peak_bytes"] / _MIB for found in (few, many)]
    print(f"peak memory: {peaks[0]:.0f} MiB at {num_images // 10} images, {peaks[1]:.0f} at {num_images}: ", end="")
    print(f"{peaks[1] / peaks[0]:.3f} times")


if __name__ == "__main__":
    main()
