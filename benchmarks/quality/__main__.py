"""The quality benchmark's command line; `python -m benchmarks.quality --help`."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.quality import report, results, tables
from benchmarks.quality.cells import Cell, Store
from benchmarks.quality.execute import Failure, execute, expected_seconds, missing_cells
from benchmarks.quality.plan import MAIN_STUDY, Case, Plan, Selection
from benchmarks.quality.settings import Settings, load_settings
from benchmarks.quality.sources import prepare
from i2i_unlearn.method.objectives import OBJECTIVES
from i2i_unlearn.support.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute what is missing, write the report; 0 = all there, 1 = wrong input, 2 = some cells failed."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        # What made the numbers: a report written again computes none.
        made_by = [word for word in given if word != "--only-report"]
        return _run(options, "python -m benchmarks.quality " + shlex.join(made_by))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--data", required=True, help=" | ".join(load_settings(tiny=False).data))
    parser.add_argument("--families", default="", help="comma-separated; all that have a recipe for the data set")
    parser.add_argument("--objectives", default="", help="comma-separated; all that exist")
    parser.add_argument("--requests", default="", help="comma-separated; all of settings.yaml")
    parser.add_argument("--operators", default="", help="comma-separated; all of settings.yaml")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated; of references and unlearning")
    parser.add_argument("--device", default="cpu", help="cpu | cuda")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread; 0 = compute in this one")
    parser.add_argument("--cifar10", type=Path, default=Path("../shared/data"), help="folder of cifar10-*.parquet")
    parser.add_argument("--limit", type=int, default=None, help="most images of the data set")
    parser.add_argument("--cache", type=Path, default=Path(".bench"), help="folder of finished cells")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="the report goes to OUT/DATA")
    parser.add_argument("--accept-older-code", action="store_true", help="keep cells that other code made")
    parser.add_argument("--only-report", action="store_true", help="compute nothing; report what is there")
    parser.add_argument("--dry-run", action="store_true", help="tell what is missing in the first round, and the time")
    parser.add_argument("--tiny", action="store_true", help="a few steps on a few images: for trying the benchmark out")
    return parser


def _run(options: argparse.Namespace, command: str) -> int:
    settings = _settings(options)
    selection = _selection(options, settings)
    params, data = settings.params, settings.data[options.data]
    store = Store(options.cache, accept_older_code=options.accept_older_code)
    source = prepare(
        options.data,
        data,
        options.cache,
        cifar10=options.cifar10,
        seed=params["seed"],
        holdout_fraction=params["holdout_fraction"],
    )
    plan = Plan(settings, source, selection)
    first = plan.first_round()
    if options.dry_run:
        return _tell_missing(first, store)

    def compute(cases: Sequence[Case], description: str) -> list[Failure]:
        if options.only_report:
            return []
        return execute(_cells(cases), store, source, workers=options.workers, description=description)

    failures = compute(first, "first round")
    found = [place for place in results.load(first, store, most_time=data.most_time) if place.case.study == MAIN_STUDY]
    chosen = tables.choose(found)
    second = plan.second_round({key: group.case.changes for key, group in chosen.items()})
    failures += compute(second, "second round")
    cases = [case for case in (*first, *second) if store.is_done(case.score)]
    places = results.load(cases, store, most_time=data.most_time)
    if not places:
        _tell_failures(failures)
        raise UserError("no teacher with its references is scored yet; run again without --only-report")
    used = {store.key(cell): cell for cell in missing_or_done(cases)}
    page = report.write(
        report.Report(
            data=options.data,
            command=command,
            settings=settings,
            selection=selection,
            places=places,
            chosen=chosen,
            failures=failures,
            num_older=len(store.accepted & set(used)),
            seconds=sum(store.facts(cell)["wall_s"] for cell in used.values()),
        ),
        options.out / options.data,
    )
    print(f"{page}: {len(cases)} scored models")
    _tell_failures(failures)
    return 2 if failures else 0


def _settings(options: argparse.Namespace) -> Settings:
    settings = load_settings(tiny=options.tiny)
    if options.data not in settings.data:
        raise UserError(f"--data {options.data} is not known; choose one of: {', '.join(settings.data)}")
    if options.limit is None:
        return settings
    limited = settings.data[options.data].model_copy(update={"limit": options.limit})
    return settings.model_copy(update={"data": {**settings.data, options.data: limited}})


def _selection(options: argparse.Namespace, settings: Settings) -> Selection:
    data = settings.data[options.data]
    families = [name for name, recipes in settings.recipes.items() if options.data in recipes]
    objectives = [name for name in settings.objectives if name in OBJECTIVES]
    objectives += [name for name in OBJECTIVES if name not in settings.objectives]
    if options.tiny:
        objectives = [name for name in objectives if name in settings.objectives]
    try:
        seeds = [int(seed) for seed in options.seeds.split(",")]
    except ValueError:
        raise UserError(f"--seeds {options.seeds}: must be whole numbers separated by commas") from None
    return Selection(
        families=_among(options.families, families, "--families"),
        objectives=_among(options.objectives, [*objectives], "--objectives", list(OBJECTIVES)),
        operators=_among(options.operators, list(settings.operators), "--operators"),
        requests=_among(options.requests, list(data.requests), "--requests"),
        seeds=seeds,
        device=options.device,
        chosen_on=data.develop,
    )


def _among(given: str, default: list[str], option: str, known: list[str] | None = None) -> list[str]:
    names = [name.strip() for name in given.split(",") if name.strip()] or default
    allowed = default if known is None else known
    wrong = [name for name in names if name not in allowed]
    if wrong:
        raise UserError(f"{option}: {wrong[0]!r} is not known here; choose among: {', '.join(allowed)}")
    return names


def _cells(cases: Sequence[Case]) -> list[Cell]:
    return [case.score for case in cases]


def missing_or_done(cases: Sequence[Case]) -> list[Cell]:
    """The cells of these cases and all their inputs."""
    found: list[Cell] = []
    todo = _cells(cases)
    while todo:
        cell = todo.pop()
        found.append(cell)
        todo += cell.inputs.values()
    return found


def _tell_missing(cases: Sequence[Case], store: Store) -> int:
    missing = missing_cells(_cells(cases), store)
    expected = expected_seconds(missing, store)
    for cell in missing:
        print(f"{expected[cell]:6.0f} s  {cell.kind:<9} {cell.label}")
    print(f"{len(missing)} cells, {sum(expected.values()) / 60:.0f} minutes of one worker (first round)", end="")
    print("; the second takes one setting of each objective to the other requests and operators")
    return 0


def _tell_failures(failures: Sequence[Failure]) -> None:
    for failure in failures:
        print(f"not computed: {failure.label}: {failure.reason}", file=sys.stderr)


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    sys.exit(code)
