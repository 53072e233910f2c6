"""Sweeps on two cores: two processes of one thread each against one process of two threads.

A worker trains from the start when it reads a line, so that both begin together.
"""

import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.setting import make_setting, params_of, run_ours
from i2i_unlearn.support.device import num_threads


def worker(family: str, threads: int, steps: int) -> None:
    """Prepare, say so, wait for a line, train, say when it is done."""
    setting = make_setting(params_of(family))
    with num_threads(threads):
        sampler, targets = setting.sampler(), setting.targets()
        run_ours(setting, sampler, targets, 2)
        print("ready", flush=True)
        sys.stdin.readline()
        run_ours(setting, sampler, targets, steps)
        print("done", flush=True)


def images_per_s(family: str, threads: Sequence[int], steps: int) -> float:
    """Images per second of workers side by side, one for each number of threads in `threads`, all of them together."""
    size = make_setting(params_of(family)).config.batch_size
    program = [sys.executable, "-m", "benchmarks.unlearn_throughput", "--family", family, "--steps", str(steps)]
    started = [
        subprocess.Popen([*program, "--worker", str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for count in threads
    ]
    for process in started:
        _expect(process, "ready")
    begun = time.perf_counter()
    for process in started:
        print(file=process.stdin, flush=True)
    for process in started:
        _expect(process, "done")
    seconds = time.perf_counter() - begun
    for process in started:
        process.communicate()
    return len(threads) * steps * 2 * size / seconds


def _expect(process: "subprocess.Popen[str]", word: str) -> None:
    found = process.stdout.readline().strip() if process.stdout else ""
    if found != word:
        raise RuntimeError(f"a worker ended early: it said {found!r} in place of {word!r}")
