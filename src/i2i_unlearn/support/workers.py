"""Jobs side by side in processes of this machine: one line of JSON in, one line out.

A tiny model uses little more than one core, so jobs are computed side by side, each in one thread, with the same bits
as one after the other. A worker ends when its input ends, even in the middle of a job, so a killed run leaves no
process behind. The job's checkpoint is kept.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from i2i_unlearn.support.errors import UserError

Answer = dict[str, Any]


def side_by_side(
    module: str, jobs: Sequence[Mapping[str, Any]], num_workers: int, logs: Path, done: Callable[[Answer], Answer]
) -> list[Answer]:
    """Answers in the order of the jobs. After a failure no further job begins, and it is raised at the end.

    `module` is run with `python -m` and calls `serve`. Each job has a `name` for people. `logs` gets what the workers
    print. `done` sees each answer as it comes and returns it.

    Raises:
        UserError: a job's own, or a worker ended early.
    """
    logs.mkdir(parents=True, exist_ok=True)
    todo = deque(enumerate(jobs))
    results: dict[int, Answer] = {}
    failures: list[UserError] = []
    workers: list[Worker] = []

    def work(number: int) -> None:
        with Worker(module, logs / f"worker-{number}.log") as worker:
            workers.append(worker)
            while todo and not failures:
                try:
                    index, job = todo.popleft()
                except IndexError:  # another took the last one
                    return
                try:
                    results[index] = done(worker.ask(job))
                except UserError as error:
                    failures.append(error)

    with ThreadPoolExecutor(num_workers) as pool:
        try:
            list(pool.map(work, range(1, num_workers + 1)))
        except BaseException:  # Ctrl-C: the pool would wait for all jobs
            todo.clear()
            for worker in workers:
                worker.stop()
            raise
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(jobs))]


class Worker:
    """A process that serves jobs, until the block ends."""

    def __init__(self, module: str, log: Path | None = None) -> None:
        """`module`: as in `side_by_side`. `log` gets what the worker prints; None = our stderr does."""
        self._module, self._path = module, log

    def __enter__(self) -> Self:
        self._log = self._path.open("w") if self._path else None
        pipe = subprocess.PIPE
        # One thread each, unless the caller set another number. Bars of several processes would overwrite each other.
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "TTY_COMPATIBLE": "0"}
        command = [sys.executable, "-m", self._module]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._log, text=True, env=environment)
        return self

    def ask(self, job: Mapping[str, Any]) -> Answer:
        """Compute a job.

        Raises:
            UserError: the job's own, or the process ended early.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise TypeError("the worker was started without pipes")
        try:
            stdin.write(json.dumps(job) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            where = f"{self._path} holds its output" if self._path else "its output is above"
            raise UserError(f"a worker ended early at {job['name']}; {where}; run the same command again to continue")
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(answer["error"])
        facts: Answer = answer["facts"]
        return facts

    def stop(self) -> None:
        """End the process, even in the middle of a job; a waiting `ask` raises an error."""
        self._process.terminate()

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.wait()
        if self._log:
            self._log.close()


def serve(compute: Callable[[Answer], Answer]) -> None:
    """Answer each line of stdin until there is none: the main function of a worker's module."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as in cli/main.py, since workers share the cores
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is not an answer
    jobs: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    try:
        while True:
            try:
                answer: Answer = {"facts": compute(json.loads(jobs.get()))}
            except UserError as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), file=answers, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)


def _listen(jobs: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)
