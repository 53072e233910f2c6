"""A process that computes points of a sweep: `python -m i2i_unlearn.sweeps.worker`, one line of JSON in, one line out.

It ends when its input ends, even in the middle of a point, so a killed sweep leaves no process behind. The point's
checkpoint is kept.
"""

import json
import os
import queue
import sys
import threading
from typing import Any

from i2i_unlearn.support.errors import UserError


def compute(job: dict[str, Any]) -> dict[str, float | str]:
    """Compute one point; `job` holds the arguments of the stage `sweep_point`, its settings as plain data."""
    from i2i_unlearn.sweeps import point
    from i2i_unlearn.sweeps.points import point_configs

    configs = point_configs(job["point"], job["settings"])
    return point.run(job["images"], job["splits"], job["teacher"], job["reference"], job["folder"], configs)


def main() -> None:
    """Answer each line until there is none."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as in cli/main.py, since workers share the cores
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is not an answer
    jobs: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    while True:
        try:
            answer: dict[str, Any] = {"facts": compute(json.loads(jobs.get()))}
        except UserError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


def _listen(jobs: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
