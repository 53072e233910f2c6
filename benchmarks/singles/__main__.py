"""Withdraw single images, or a class, and compare what is left with the paper's method and with retraining.

python -m benchmarks.singles cell --singles 40 --seed 0     one cell; computes what is missing of it
python -m benchmarks.singles report                         docs/results/singles.md over the cells that are there
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.quality.settings import load_settings
from benchmarks.singles import table
from benchmarks.singles.chain import NUM_CANDIDATES, Wish, run_cell
from i2i_unlearn.evaluation.policy import read_policies
from i2i_unlearn.support.device import num_threads
from i2i_unlearn.support.errors import UserError

TINY_CANDIDATES = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute a cell or write the page; 0 = done, 1 = wrong input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        if options.what == "report":
            print(table.write(options.out / "cells", options.page, "python -m benchmarks.singles " + shlex.join(given)))
        else:
            print(_cell(options))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _cell(options: argparse.Namespace) -> Path:
    settings = load_settings(tiny=options.tiny)
    candidates = TINY_CANDIDATES if options.tiny else NUM_CANDIDATES
    if options.data not in settings.recipes.get(options.family, {}):
        raise UserError(f"--data {options.data} --family {options.family}: settings.yaml has no recipe for it")
    if not 0 <= options.singles <= candidates:
        raise UserError(f"--singles {options.singles}: must be 0 (one class) to {candidates}, the candidates")
    if options.references < 1:
        raise UserError(f"--references {options.references}: must be 1 or more; 3 are recommended")
    paper = yaml.safe_load(Path("presets/paper.yaml").read_text(encoding="utf-8"))
    wish = Wish(
        data=options.data,
        family=options.family,
        singles=options.singles,
        seed=options.seed,
        num_references=options.references,
        candidates=candidates,
    )
    with num_threads(settings.params["num_threads"]):
        return run_cell(wish, settings, paper, read_policies("mlflow/policies"), options.out, options.cifar10)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.singles", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    cell, report = commands.add_parser("cell"), commands.add_parser("report")
    for command in (cell, report):
        command.add_argument("--out", type=Path, default=Path(".bench/singles"), help="folder of all that is computed")
    cell.add_argument("--data", default="digits", help="digits | cifar10")
    cell.add_argument("--family", default="mae", help="mae | diffusion")
    cell.add_argument("--singles", type=int, default=40, help="single images to withdraw; 0 = one class")
    cell.add_argument("--seed", type=int, default=0)
    cell.add_argument("--references", type=int, default=3, help="models retrained without the request")
    cell.add_argument("--cifar10", type=Path, default=Path("../shared/data"), help="folder of cifar10-*.parquet")
    cell.add_argument("--tiny", action="store_true", help="few steps on few images: for trying the benchmark out")
    report.add_argument("--page", type=Path, default=Path("docs/results/singles.md"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
