"""One of the processes that share a training stage: `torchrun ... -m i2i_unlearn.pipeline.training_worker JOB.json`.

The job (training/launch.py) names the stage, its paths and its settings. The first process prints each row of the log
as a line on stdout. An error that stops a process is written next to the job, for the process that started it.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from i2i_unlearn.config.sections import ReferenceConfig, UnlearnConfig
from i2i_unlearn.method.processes import joined
from i2i_unlearn.stages import reference, unlearn
from i2i_unlearn.support.errors import Diverged, UserError
from i2i_unlearn.support.files import write_json
from i2i_unlearn.training.launch import ERROR, ROW


def work(job: Mapping[str, Any], error_file: Path) -> None:
    """Do this process's part of the job; an error is in `error_file` before this process leaves the group."""
    paths = (job["images"], job["splits"], job["teacher"], job["out"])
    with joined(job["config"]["device"]) as processes, _told(error_file):
        if job["stage"] == "unlearn":
            stream = _print_row if processes.is_first else None
            unlearn.run(*paths, UnlearnConfig(**job["config"]), stream=stream, processes=processes)
        else:
            reference.retrain_one(*paths, ReferenceConfig(**job["config"]), processes=processes)


def _print_row(row: Mapping[str, Any]) -> None:
    print(ROW + json.dumps(row), flush=True)


@contextmanager
def _told(error_file: Path) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        # All processes may stop for the same reason: each writes the same.
        write_json(error_file, {"message": str(error), "diverged": isinstance(error, Diverged)})
        raise
    except OSError as error:
        if error.filename is None:
            raise
        write_json(error_file, {"message": f"{error.filename}: {error.strerror}", "diverged": False})
        raise


def main(path: Path) -> int:
    """Exit code: 0 done, 1 stopped (ERROR next to the job says why)."""
    job, error_file = json.loads(path.read_text()), path.with_name(ERROR)
    if job.get("launcher_pid"):
        threading.Thread(target=_end_with, args=(job["launcher_pid"],), daemon=True).start()
    try:
        with _told(error_file):  # also where the processes do not find each other
            work(job, error_file)
    except Exception:
        # Where another process stopped first, the error here is only that it is gone.
        if not _appears(error_file):
            raise
        return 1
    return 0


def _appears(path: Path) -> bool:
    end = time.monotonic() + 2
    while not path.is_file() and time.monotonic() < end:
        time.sleep(0.1)
    return path.is_file()


def _end_with(pid: int) -> None:
    """End this process when its launcher is gone; the checkpoint stays."""
    with suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
