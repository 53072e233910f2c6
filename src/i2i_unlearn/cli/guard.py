"""Commands `guard make` and `guard check`."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from i2i_unlearn.cli.stages import PARAMS, Images, Params, Requests, Splits, report

app = typer.Typer(
    help="A filter for the time until a request is carried out. It is no unlearning: the model still knows the images.",
    no_args_is_help=True,
)
DAY = ["%Y-%m-%d"]


@app.command()
def make(
    images: Images = "data/images",
    splits: Splits = Path("artifacts/splits"),
    requests: Requests = Path("data/forget"),
    model: Annotated[Path, typer.Option(help="Model directory of the model that is served until then.")] = Path(
        "artifacts/teacher/model"
    ),
    false_alarms: Annotated[
        float | None, typer.Option(help="Share of other images that may be refused; default: params.yaml's.")
    ] = None,
    expires: Annotated[
        datetime | None, typer.Option(formats=DAY, help="Last day; default: the latest `due` of the active requests.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The guard's folder, readable by you only.")] = Path("guard"),
    params: Params = PARAMS,
) -> None:
    """Make a filter of the forget set's features, and measure how often it is right and wrong.

    Example: i2i-unlearn guard make --false-alarms 0.01 --out guard
    """
    from i2i_unlearn.config.sections import GuardConfig, load_params
    from i2i_unlearn.serving.guard import make as stage

    config = GuardConfig.from_params(load_params(params))
    if false_alarms is not None:
        config = GuardConfig(**{**config.model_dump(), "false_alarms": false_alarms})
    last_day = expires.date() if expires else None
    report(stage.run(images, splits, requests, model, out, config, today=_today(), expires=last_day))
    typer.echo(f"serve with it: I2I_UNLEARN_GUARD={out.resolve()}; delete the folder when the requests are carried out")


@app.command()
def check(folder: Annotated[Path, typer.Argument(help="The guard's folder.")] = Path("guard")) -> None:
    """Load a guard as a server would, and tell what it is for, how long, and its measured rates.

    Example: i2i-unlearn guard check guard
    """
    from i2i_unlearn.serving.guard import make as stage

    report(stage.check(folder, _today()))


def _today() -> date:
    return datetime.now(UTC).date()
