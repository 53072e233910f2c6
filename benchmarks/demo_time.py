"""How long the demo takes in two checkouts, one after the other on the same machine, seed by seed.

    python -m benchmarks.demo_time --of .venv/bin/i2i-unlearn --against ../base/.venv/bin/i2i-unlearn \
        --checkouts . ../base --seeds 0,1,2

Each run starts from a fresh clone of its checkout. Printed are wall and processor seconds of the run and of its repeat,
and what the deciding policy said. Run it on an idle machine with at least two cores: the demo trains two models side by
side, so other work on the same cores makes it look slower than the older one, which used one core.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Print one line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", type=Path, required=True, help="the program i2i-unlearn of the first checkout")
    parser.add_argument("--against", type=Path, required=True, help="that of the second")
    parser.add_argument("--checkouts", type=Path, nargs=2, required=True, help="the two checkouts")
    parser.add_argument("--seeds", default="0")
    given = parser.parse_args()
    sides = list(zip((given.of, given.against), given.checkouts, strict=True))
    print("seed  checkout  wall_s  cpu_s  repeat_wall_s  repeat_cpu_s  gate")
    for seed in given.seeds.split(","):
        for program, checkout in sides:
            with tempfile.TemporaryDirectory() as folder:
                project = Path(folder) / "project"
                subprocess.run(["git", "clone", "-q", checkout, project], check=True)
                params = project / "params.yaml"
                params.write_text(re.sub(r"(?m)^seed: \d+", f"seed: {seed}", params.read_text()))
                first, repeat = (_timed(program.absolute(), project) for _ in range(2))
                verdicts = json.loads((project / "artifacts/evaluation/verdicts.json").read_text())
                outcome = verdicts["verdicts"][verdicts["deciding"]]["outcome"]
                numbers = "  ".join(f"{number:.1f}" for number in (*first, *repeat))
                print(f"{seed}  {checkout}  {numbers}  {verdicts['deciding']} {outcome}", flush=True)


def _timed(program: Path, project: Path) -> tuple[float, float]:
    """Wall and processor seconds of the demo, with all of its processes."""
    # The code of the clone, whichever checkout the environment was installed from.
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1"}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([program, "demo"], cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
