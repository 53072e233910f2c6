"""Commands `review make` and `review clean`: forget images on a page that expires."""

from pathlib import Path
from typing import Annotated

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.output import show, timed

app = typer.Typer(
    help="Review pages: forget images and how the models complete them.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Option(help="Folder of review pages; git does not see what is in it.")]


@app.command()
def make(
    images: options.Images = options.IMAGES,
    splits: options.Splits = options.SPLITS,
    teacher: options.Teacher = options.TEACHER,
    unlearned: options.Unlearned = options.UNLEARNED,
    reference: options.Reference = options.REFERENCE,
    original: options.OriginalModel = options.ORIGINAL,
    evaluation: options.Evaluation = options.EVALUATION,
    policies: options.Policies = options.POLICIES,
    out: Folder = Path(".review"),
    days: Annotated[int, typer.Option(min=1, max=90, help="Days until the page expires.")] = 14,
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Make a page of the forget images and how each model completes them. It expires.

    Example: i2i-unlearn review make --days 7
    """
    import datetime

    from i2i_unlearn.config.sections import EvaluateConfig, load_params
    from i2i_unlearn.evaluation.gate import read_policies
    from i2i_unlearn.report import make_review as stage
    from i2i_unlearn.report.words import seconds

    config = EvaluateConfig.from_params(load_params(params), policies=read_policies(policies))
    expires = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=days)
    facts = timed(
        stage.run,
        images,
        splits,
        teacher,
        unlearned,
        reference,
        out,
        config,
        expires,
        original=original,
        evaluation=evaluation,
    )
    most_exposed = facts["num_exposed"] or f"none (no membership audit in {evaluation})"
    show(
        facts,
        json,
        f"Completed the forget images again in {seconds(facts['seconds'])}; the page expires after {facts['expires']}",
        f"Most exposed images on it, by the membership audit: {most_exposed}",
        f"Delete it by then: i2i-unlearn review clean --folder {out}",
        f"Page: {facts['page']}",
    )


@app.command()
def clean(
    folder: Folder = Path(".review"),
    everything: Annotated[bool, typer.Option("--all", help="Also those that have not expired.")] = False,
) -> None:
    """Delete the review pages that have expired. Run it daily where pages are made (cron).

    Example: i2i-unlearn review clean
    """
    import datetime

    from i2i_unlearn.report import review

    deleted, kept = review.clean(folder, datetime.datetime.now(datetime.UTC).date(), everything=everything)
    for path in deleted:
        typer.echo(f"deleted {path}")
    for path in kept:
        typer.echo(f"kept    {path} (until {review.expiry_of(path)})")
    if not deleted and not kept:
        typer.echo(f"{folder}: no review page")
