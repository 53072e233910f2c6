"""Command `export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from i2i_unlearn.cli.stages import PARAMS, Params, Teacher, report

app = typer.Typer()


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="File to write: .pth, .pt or .ckpt.")],
    model: Annotated[str, typer.Option(help="Model directory, or models:/NAME/VERSION.")] = "artifacts/unlearned/model",
    format: Annotated[  # noqa: A002  the option's name
        Literal["original"], typer.Option(help="original: that of the published file that the teacher was made from.")
    ] = "original",
    like: Annotated[
        str, typer.Option(help="The published file; default: the one that `snapshot` wrote down beside the teacher.")
    ] = "",
    teacher: Teacher = Path("artifacts/teacher/model"),
    params: Params = PARAMS,
) -> None:
    """Write an unlearned model in the format of the published file that it was made from, for the original code.

    Example: i2i-unlearn export --format original --like mae_visualize_vit_base.pth --out mae_unlearned.pth
    """
    from i2i_unlearn.config.sections import SnapshotConfig, load_params
    from i2i_unlearn.serving import export as stage

    report(stage.run(model, teacher, out, SnapshotConfig.from_params(load_params(params)), like=like))
