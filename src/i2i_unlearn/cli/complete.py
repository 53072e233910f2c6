"""Command `complete`."""

from pathlib import Path
from typing import Annotated

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.output import show

app = typer.Typer()


@app.command()
def complete(
    model: Annotated[
        str, typer.Option(help="Model directory, models:/NAME/NUMBER, or models:/NAME@champion for the promoted one.")
    ],
    images: Annotated[str, typer.Option("--in", help="An image, a Parquet file, or a folder of them.")],
    out: Annotated[Path, typer.Option(help="Output folder. Completions appear one by one, each whole or not at all.")],
    operator: Annotated[
        str, typer.Option(help="What is hidden and filled; default: the registered version's, else params.yaml's.")
    ] = "",
    keep_fraction: Annotated[
        float | None, typer.Option(help="Visible share of each image; default as for --operator.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed; default as for --operator.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per batch; default: params.yaml's.")] = None,
    image_column: Annotated[str, typer.Option(help="Column of Parquet files that holds the images.")] = "image",
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Complete images with a registered version or model directory. Run it again to continue after an interruption.

    Example: i2i-unlearn complete --model models:/digits-inpainter@champion --in pictures --out completed
    """
    from i2i_unlearn.config.sections import CompleteConfig, load_params
    from i2i_unlearn.data.images.decoding import Reading
    from i2i_unlearn.serving import complete as stage

    given = {"operator": operator or None, "keep_fraction": keep_fraction, "seed": seed, "batch_size": batch_size}
    asked = {key: value for key, value in given.items() if value is not None}
    content = load_params(params)
    config, reading = CompleteConfig.from_params(content), Reading.from_params(content)
    facts = stage.run(model, images, out, config, asked=asked, image_column=image_column, reading=reading)
    if facts["warning"]:
        typer.echo(f"warning: {facts['warning']}", err=True)
    there = f" ({facts['num_there']:,} more were there already)" if facts["num_there"] else ""
    what = f"Completed {facts['num_completed']:,} images{there} with {facts['model']}"
    show(facts, json, f"{what}: {facts['operator']}, {facts['keep_fraction']:.0%} visible", f"Completions: {out}")
