"""Commands `sweep` and `pareto`: many settings next to each other."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.output import show, timed

app = typer.Typer()

OUT = Path("artifacts/sweep")

Record = Annotated[bool, typer.Option(help="Log the sweep to MLflow: a run, and a nested run for each point.")]


@app.command()
def sweep(
    objectives: Annotated[str, typer.Option(help="Names, separated by commas; default: sweep.objectives.")] = "",
    alphas: Annotated[str, typer.Option(help="Values of alpha, separated by commas; default: sweep.alphas.")] = "",
    epsilons: Annotated[
        str, typer.Option(help="Values of epsilon, for epsilon_constraint; default: sweep.epsilons.")
    ] = "",
    workers: Annotated[int, typer.Option(help="Points computed at once; 0 = sweep.num_workers.", min=0)] = 0,
    images: options.Images = options.IMAGES,
    splits: options.Splits = options.SPLITS,
    teacher: options.Teacher = options.TEACHER,
    reference: options.Reference = options.REFERENCE,
    policies: options.Policies = options.POLICIES,
    out: Annotated[Path, typer.Option(help="Folder of the sweep; finished points in it are reused.")] = OUT,
    record: Record = True,
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Unlearn and evaluate with many settings, and compare the results.

    It tries every objective with every alpha or epsilon.

    Example: i2i-unlearn sweep --objectives encoder_l2,max_loss --alphas 0.1,0.25,1 --workers 2
    """
    from i2i_unlearn.config.sections import EvaluateConfig, SweepConfig, UnlearnConfig, load_params
    from i2i_unlearn.evaluation.gate import read_policies
    from i2i_unlearn.sweeps import run as stage
    from i2i_unlearn.sweeps.points import points_of

    content = load_params(params)
    asked = {"objectives": objectives, "alphas": alphas, "epsilons": epsilons, "num_workers": workers}
    section = {**content.get("sweep", {}), **{key: value for key, value in asked.items() if value}}
    config = SweepConfig.from_params({**content, "sweep": section})
    settings = {
        "unlearn": UnlearnConfig.from_params(content).model_dump(mode="json"),
        "evaluate": EvaluateConfig.from_params(content, policies=read_policies(policies)).model_dump(mode="json"),
    }
    _say(cost(len(points_of(config)), config.num_workers, options.UNLEARNED, options.EVALUATION))
    facts = timed(stage.run, images, splits, teacher, reference, out, config, settings, say=_say)
    _finish(facts, out / "pareto", record, json, content)


@app.command()
def pareto(
    points: Annotated[list[Path], typer.Argument(help="Folders of points that `sweep` made.")],
    out: Annotated[Path, typer.Option(help="Output folder; it appears whole or not at all.")] = OUT / "pareto",
    record: Record = True,
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Compare finished points of sweeps, without computing anything.

    Example: i2i-unlearn pareto artifacts/sweep/points/*
    """
    from i2i_unlearn.config.sections import load_params
    from i2i_unlearn.sweeps import table as stage

    facts = timed(stage.run, points, out)
    _finish({**facts, "computed": 0, "page": str(out / stage.PAGE)}, out, record, json, load_params(params))


def cost(num_points: int, num_workers: int, unlearned: Path, evaluation: Path) -> str:
    """What a sweep takes at most, by what one unlearning and one evaluation took in this project."""
    from i2i_unlearn.report.words import seconds
    from i2i_unlearn.support.files import read_json

    summaries = [folder / "summary.json" for folder in (unlearned, evaluation)]
    if not all(path.is_file() for path in summaries):
        return f"{num_points} points, each unlearned and evaluated; the first one shows how long they take"
    each = [read_json(path)["seconds"] for path in summaries]
    rounds = math.ceil(num_points / min(num_workers, num_points))
    took = " and ".join(f"{verb} ({seconds(one)})" for verb, one in zip(("unlearn", "evaluate"), each, strict=True))
    return f"{num_points} points, at most about {seconds(rounds * sum(each))}, by what {took} took here"


def rows(points: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    """A line for each point: changes of the hole PSNR in dB, and the gate."""
    keys = ("forgetting", "retain", "unseen", "gap")
    return [(one["name"], *(_db(one[key]["value"]) for key in keys), one["gate"]) for one in points]


def _db(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _finish(facts: dict[str, Any], folder: Path, record: bool, json: bool, params: dict[str, Any]) -> None:
    from i2i_unlearn.report.words import seconds
    from i2i_unlearn.support.files import read_json
    from i2i_unlearn.support.table import table
    from i2i_unlearn.sweeps.table import POINTS

    recorded = ""
    if record:
        from i2i_unlearn.config.sections import RegisterConfig
        from i2i_unlearn.sweeps import record as record_sweep

        facts = {**facts, **record_sweep.run(folder, RegisterConfig.from_params(params).experiment)}
        recorded = f"MLflow: run {facts['run_id']} in the experiment {facts['experiment']}"
    show(
        facts,
        json,
        f"Compared {facts['num_points']} points in {seconds(facts['seconds'])} ({facts['computed']} computed now):"
        f" {facts['num_passed']} passed the gate, {facts['num_diverged']} diverged",
        table(
            ("point", "forget dB", "retain dB", "never seen dB", "gap dB", "gate"),
            rows(read_json(folder / POINTS)["points"]),
        ),
        f"Front, forgetting most: {facts['forgetting_most']}. As unseen: {facts['as_unseen'] or 'none'}",
        recorded,
        f"Page: {facts['page']}",
    )
