"""One of the processes that share a training stage: `torchrun ... -m i2i_unlearn.training_worker JOB.json`.

The job (stages/launch.py) names the stage, its paths and its settings. The first process prints each row of the log as
a line on stdout. What stops a process is left beside the job, for who started it.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from i2i_unlearn.config import ReferenceConfig, UnlearnConfig
from i2i_unlearn.errors import Diverged, UserError
from i2i_unlearn.files import write_json
from i2i_unlearn.processes import joined
from i2i_unlearn.stages import reference, unlearn
from i2i_unlearn.stages.launch import ERROR, ROW


def work(job: Mapping[str, Any]) -> None:
    """Do this process's part of the job."""
    paths = (job["images"], job["splits"], job["teacher"], job["out"])
    with joined(job["config"]["device"]) as processes:
        if job["stage"] == "unlearn":
            stream = _print_row if processes.is_first else None
            unlearn.run(*paths, UnlearnConfig(**job["config"]), stream=stream, processes=processes)
        else:
            reference.run(*paths, ReferenceConfig(**job["config"]), processes=processes)


def _print_row(row: Mapping[str, Any]) -> None:
    print(ROW + json.dumps(row), flush=True)


def main(path: Path) -> int:
    """Exit code: 0 done, 1 input is wrong (ERROR beside the job says what)."""
    job = json.loads(path.read_text())
    if job.get("launcher_pid"):
        threading.Thread(target=_end_with, args=(job["launcher_pid"],), daemon=True).start()
    try:
        work(job)
    except UserError as error:
        # All processes may stop for the same reason: each writes the same.
        write_json(path.with_name(ERROR), {"message": str(error), "diverged": isinstance(error, Diverged)})
        return 1
    return 0


def _end_with(pid: int) -> None:
    """A killed launcher leaves nobody computing behind its back; the checkpoint stays."""
    with suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
