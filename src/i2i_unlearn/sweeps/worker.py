"""A process that computes points of a sweep: `python -m i2i_unlearn.sweeps.worker` (support/workers.py)."""

import time
from typing import Any

from i2i_unlearn.support.workers import serve


def compute(job: dict[str, Any]) -> dict[str, float | str]:
    """Compute one point; `job` holds the arguments of the stage `sweep_point`, its settings as plain data."""
    from i2i_unlearn.sweeps import point
    from i2i_unlearn.sweeps.points import point_configs

    configs = point_configs(job["point"], job["settings"])
    begun = time.monotonic()
    facts = point.run(job["images"], job["splits"], job["teacher"], job["reference"], job["folder"], configs)
    return {**facts, "seconds": round(time.monotonic() - begun, 1)}


if __name__ == "__main__":
    serve(compute)
