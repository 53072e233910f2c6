"""Runs a training stage in several processes on this machine; `torchrun` starts them."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from i2i_unlearn.config.sections import TrainingConfig
from i2i_unlearn.support.errors import Diverged, UserError
from i2i_unlearn.support.files import read_json, write_json
from i2i_unlearn.training.run import Facts, Stream

_TORCHRUN_SPEAKS = re.compile(r"[EW]\d{4} .*torch/distributed/elastic/multiprocessing/api")
"""The first line of the page that torchrun prints about a failed worker, which has given the reason already."""
TAIL = 30
WORKER = "i2i_unlearn.pipeline.training_worker"
"""The module that each process runs. It imports the stages, so it is named here and not imported."""
ROW = "row "
"""A line of a worker's stdout that begins with this is a row of the log, in JSON."""
ERROR = "error.json"
"""Next to the job: the error that stopped a worker."""


def launch(
    stage: str,
    images: str,
    splits: str | Path,
    teacher: str | Path,
    out: str | Path,
    config: TrainingConfig,
    num_processes: int,
    stream: Stream | None = None,
) -> Facts:
    """Run the stage `unlearn` or `reference` in `num_processes` processes of this machine; return its summary.

    Its arguments are the stage's own. The processes end with this one, whatever ends it.

    Raises:
        UserError: what the stage raises; or a process was killed.
    """
    with tempfile.TemporaryDirectory(prefix="i2i-unlearn-") as folder:
        job = Path(folder) / "job.json"
        write_json(job, job_of(stage, images, splits, teacher, out, config) | {"launcher_pid": os.getpid()})
        tail: deque[str] = deque(maxlen=TAIL)
        with _torchrun(job, num_processes) as process:
            heard = threading.Thread(target=_pass_on, args=(process.stderr, tail), daemon=True)
            heard.start()
            for line in process.stdout or ():
                if line.startswith(ROW) and stream:
                    stream(json.loads(line.removeprefix(ROW)))
            code = process.wait()
            heard.join()
        if code:
            raise_error_of(job, f"{stage}: one of {num_processes} processes ended without a reason", "".join(tail))
    return dict(read_json(Path(out) / "summary.json"))


def job_of(
    stage: str, images: str, splits: str | Path, teacher: str | Path, out: str | Path, config: TrainingConfig
) -> dict[str, Any]:
    """What a worker is told."""
    paths = {"images": images, "splits": str(splits), "teacher": str(teacher), "out": str(out)}
    return {"stage": stage, **paths, "config": config.model_dump(mode="json")}


def raise_error_of(job: Path, otherwise: str, tail: str) -> NoReturn:
    """Raise what the workers of `job` stopped with.

    Raises:
        UserError: always; Diverged where a worker raised that. Without a worker's error, `otherwise` and the last lines
            that were heard, which go to stderr.
    """
    if not job.with_name(ERROR).is_file():
        print(tail, end="", file=sys.stderr)
        raise UserError(f"{otherwise} (killed, out of memory?); its last lines are above. Run it again to resume")
    error = read_json(job.with_name(ERROR))
    raise (Diverged if error["diverged"] else UserError)(error["message"])


@contextlib.contextmanager
def _torchrun(job: Path, num_processes: int) -> Iterator[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = ("--nnodes=1", "--master-addr=127.0.0.1", f"--master-port={port}", "--local-addr=127.0.0.1")
    command = (sys.executable, "-m", "torch.distributed.run", *here, f"--nproc-per-node={num_processes}")
    # Threads are the config's; torchrun would warn of its own choice.
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    process = subprocess.Popen(
        (*command, "-m", WORKER, str(job)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=environment,
    )
    try:
        yield process
    finally:
        process.terminate()  # where it has ended, this does nothing
        process.wait()


def _pass_on(stderr: IO[str] | None, tail: deque[str]) -> None:
    """Show what the workers say, until torchrun begins to speak about them."""
    shown = True
    for line in stderr or ():
        tail.append(line)
        shown = shown and not _TORCHRUN_SPEAKS.match(line)
        if shown:
            print(line, end="", file=sys.stderr, flush=True)
