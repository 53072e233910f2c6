"""Commands `guard make` and `guard check`."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.next_step import next_step
from i2i_unlearn.cli.output import show, timed

app = typer.Typer(
    help="A filter that refuses forget images until the model is unlearned. The model still knows them.",
    no_args_is_help=True,
)


@app.command()
def make(
    images: options.Images = options.IMAGES,
    splits: options.Splits = options.SPLITS,
    requests: options.Requests = options.REQUESTS,
    model: Annotated[Path, typer.Option(help="Model directory of the model served until then.")] = options.TEACHER,
    false_alarms: Annotated[
        float | None, typer.Option(help="Share of other images that may be refused, 0 to 1; default: params.yaml's.")
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(formats=options.DAY, help="Last day; default: the latest `due` of the active requests."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The guard's folder, readable by you only.")] = Path("guard"),
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Make a filter from the features of the forget images.

    Also measures how often it is right and wrong.

    Example: i2i-unlearn guard make --false-alarms 0.01 --out guard
    """
    from i2i_unlearn.config.sections import GuardConfig, SplitConfig, load_params
    from i2i_unlearn.report.words import seconds
    from i2i_unlearn.serving.guard import make as stage

    content = load_params(params)
    config, active = GuardConfig.from_params(content), SplitConfig.from_params(content).requests
    if false_alarms is not None:
        config = GuardConfig(**{**config.model_dump(), "false_alarms": false_alarms})
    last_day = expires.date() if expires else None
    inputs = (images, splits, requests, model, out, config)
    facts = timed(stage.run, *inputs, today=_today(), expires=last_day, active=active)
    show(
        facts,
        json,
        f"Made in {seconds(facts['seconds'])}: {facts['what']}",
        *_lines(facts),
        f"To serve with it, set I2I_UNLEARN_GUARD={out.resolve()}; delete the folder once the requests are carried out",
        next_step("guard make"),
    )


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The guard's folder.")] = Path("guard"),
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Load a guard as a server would; show its last day and rates.

    Where there is a settings file, also checks that the guard is for its active requests.

    Example: i2i-unlearn guard check guard
    """
    from i2i_unlearn.config.sections import SplitConfig, load_params
    from i2i_unlearn.serving.guard import make as stage

    active = SplitConfig.from_params(load_params(params)).requests if params.is_file() else None
    facts = stage.check(folder, _today(), active)
    show(facts, json, f"A server can load {folder}: {facts['what']} ({facts['days_left']} days left)", *_lines(facts))


def _lines(facts: dict[str, Any]) -> tuple[str, str]:
    """What it is for and until when, and how often it refuses rightly and wrongly."""
    return (
        f"For {facts['forget_images']:,} forget images (requests {facts['requests']}), until {facts['expires']}",
        f"Share refused, with 95 % interval: forget images as they are {facts['hits, as it is']},"
        f" other images {facts['false alarms']}; --json has altered images, too",
    )


def _today() -> date:
    return datetime.now(UTC).date()
