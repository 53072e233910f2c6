"""Command `export`."""

from pathlib import Path
from typing import Annotated

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.output import show

app = typer.Typer()


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="File to write: .pth, .pt or .ckpt.")],
    model: Annotated[str, typer.Option(help="Model directory, or models:/NAME/VERSION.")] = "artifacts/unlearned/model",
    like: Annotated[
        str, typer.Option(help="The published file; default: the one that `snapshot` recorded with the teacher.")
    ] = "",
    teacher: options.Teacher = options.TEACHER,
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Write an unlearned model in its published format. The original code can then load it.

    Example: i2i-unlearn export --like mae_visualize_vit_base.pth --out mae_unlearned.pth
    """
    from i2i_unlearn.config.sections import SnapshotConfig, load_params
    from i2i_unlearn.serving import export as stage

    facts = stage.run(model, teacher, out, SnapshotConfig.from_params(load_params(params)), like=like)
    changed = f"{facts['changed_tensors']} of {facts['tensors']} tensors differ from the original"
    show(
        facts,
        json,
        f"Exported as {facts['format']}, with the layout of {facts['layout_of']}: {changed}",
        f"File: {out}",
    )
