"""Import and split of many small images, by the commands, in this tree and in another, in turns.

    git worktree add ../before 31a423e
    python -m benchmarks.import_split ../before --images 100000 --pairs 9

Prints the ratio of each pair (this tree / the other: below 1 is faster), by processor time, which other programs on the
machine hardly stretch, and by the wall clock; and the medians.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
_CLASSES = 10
_SIDE = 32
"""Pixels of an image's side."""
_MAIN = """
import importlib, sys
module, _, name = sys.argv.pop(1).partition(":")
getattr(importlib.import_module(module), name)()
"""


def make_images(folder: Path, count: int) -> None:
    """`count` PNG files in ten class folders, all different."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"c{number % _CLASSES}" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.repeat(np.repeat(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), _SIDE // 4, 0), _SIDE // 4, 1)
        Image.fromarray(pixels).save(path, compress_level=1)


def run(tree: Path, source: Path) -> dict[str, tuple[float, float]]:
    """Wall and processor seconds of `data import` and of `split` by the code of `tree`, in an empty project."""
    with tempfile.TemporaryDirectory() as folder:
        _project(tree, Path(folder))
        commands = {
            "import": ["data", "import", str(source), "--name", "many"],
            "split": ["split"],
        }
        return {name: _timed(tree, Path(folder), command) for name, command in commands.items()}


def _project(tree: Path, folder: Path) -> None:
    params = yaml.safe_load((tree / "params.yaml").read_text())
    params["split"]["requests"] = ["r"]
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "data/forget").mkdir(parents=True)
    request = {
        "schema_version": 1,
        "id": "r",
        "received": "2026-01-10",
        "due": "2026-02-10",
        "basis": "benchmark",
        "selector": {"sample_ids": ["many/c0/000000.png"]},
    }
    (folder / "data/forget/r.yaml").write_text(yaml.safe_dump(request))
    (folder / ".secrets").mkdir()
    (folder / ".secrets/hmac.key").write_text("0" * 64)


def _timed(tree: Path, folder: Path, command: list[str]) -> tuple[float, float]:
    entry = "i2i_unlearn.cli:main" if (tree / "src/i2i_unlearn/cli.py").exists() else "i2i_unlearn.cli.main:main"
    environment = {**os.environ, "PYTHONPATH": str((tree / "src").resolve()), "OMP_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", _MAIN, entry, *command], cwd=folder, env=environment, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Run the pairs and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="a checkout of the tree to compare with")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where the images are made, and kept")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp())
    source = folder / f"images-{asked.images}"
    try:
        if not source.exists():
            make_images(source, asked.images)
        ratios: dict[tuple[str, str], list[float]] = {}
        for number in range(asked.pairs):
            trees = (ROOT, asked.other) if number % 2 else (asked.other, ROOT)
            times = {tree: run(tree, source) for tree in trees}
            for stage, ours in times[ROOT].items():
                theirs = times[asked.other][stage]
                print(f"pair {number + 1}, {stage}: this tree {ours[1]:.1f} s, the other {theirs[1]:.1f} s", flush=True)
                for what, mine, its in zip(("wall", "processor"), ours, theirs, strict=True):
                    ratios.setdefault((stage, what), []).append(mine / its)
        for (stage, what), found in sorted(ratios.items()):
            print(f"{stage}, {what}: median {statistics.median(found):.3f} of {', '.join(f'{r:.3f}' for r in found)}")
    finally:
        if not asked.folder:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
