"""Commands `init`, `set`, `upgrade`: a project is made, its settings change, it moves to another version."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2i_unlearn.cli import options

if TYPE_CHECKING:
    from i2i_unlearn.project.create import Created

app = typer.Typer()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make; it must be empty or not there yet.")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="Directory of a ViTMAE, a diffusers inpainting model or U-Net; or a file of MAE, MAGE, Palette."
        ),
    ] = None,
    training_images: Annotated[
        Path | None, typer.Option(help="Images that the model was trained on: folder, Parquet, or table of files.")
    ] = None,
    unseen_images: Annotated[
        Path | None,
        typer.Option(help="Images that it was never trained on; not needed if the folders say so (train, val)."),
    ] = None,
    operator: Annotated[str, typer.Option(help="What is hidden when the model is used; default: center_hole.")] = "",
    keep_fraction: Annotated[
        float | None, typer.Option(help="Visible share of each image; default: all but a hole of half the side.")
    ] = None,
    model_class: Annotated[str, typer.Option(help="A class of your own, my_package.my_module:MyGenerator.")] = "",
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="What a published file does not tell of itself, key=value, such as image_size=256."),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Make the demo's project: handwritten digits.")] = False,
) -> None:
    """Make a project for a model and photographs of your own. On a terminal it asks for what is not given.

    Example: i2i-unlearn init my-project --model PATH --training-images PATH --unseen-images PATH
    """
    from i2i_unlearn.project.create import Wanted, check_empty, create, create_demo
    from i2i_unlearn.support.errors import UserError

    check_empty(folder)
    if demo:
        if model or training_images or unseen_images:
            raise UserError("--demo brings its own model and images; leave the other options out")
        create_demo(folder)
        typer.echo(f"Made {folder}.\nNext: cd {folder} && i2i-unlearn demo")
        return
    wanted = Wanted(
        model=model or _asked("--model", "Model (directory or published file)"),
        training_images=training_images or _asked("--training-images", "Images that it was trained on"),
        unseen_images=unseen_images
        or _asked_if_terminal("Images that it was never trained on (empty: folders say so)"),
        own=model_class,
        checkpoint=_pairs(checkpoint or []),
        operator=operator,
        keep_fraction=keep_fraction,
    )
    _say(folder, create(folder, wanted, typer.echo), known=bool(operator) and keep_fraction is not None)


def _say(folder: Path, created: "Created", *, known: bool) -> None:
    from i2i_unlearn.project.create import PICTURE

    settings = created.settings
    if created.look.warning:
        typer.echo(f"warning: {created.look.warning}", err=True)
    typer.echo(f"Settings: {folder}/params.yaml; what each was taken from is written behind it")
    typer.echo(f"Look at {folder}/{PICTURE}: {created.look.num_images} training images, hidden in part and completed")
    if not known:
        told = f"operator {settings['operator']}, keep_fraction {settings['keep_fraction']}"
        typer.echo(f"Not known, because a model does not say how it is used: {told}.")
        typer.echo("  To change it: i2i-unlearn set operator=NAME keep_fraction=NUMBER")
    typer.echo(f"Keep a copy of {folder}/.secrets/hmac.key; without it no report can be matched to its images")
    typer.echo(f'Next: cd {folder} && i2i-unlearn forget w-1 --ids-file withdrawn.txt --basis "withdrawn consent"')


def _asked(option: str, question: str) -> Path:
    from i2i_unlearn.support.errors import UserError

    if not sys.stdin.isatty():
        raise UserError(f"{option} is missing, and there is no terminal to ask on; give it, or --demo")
    return Path(typer.prompt(question)).expanduser()


def _asked_if_terminal(question: str) -> Path | None:
    answer = typer.prompt(question, default="", show_default=False) if sys.stdin.isatty() else ""
    return Path(answer).expanduser() if answer else None


def _pairs(given: list[str]) -> dict[str, Any]:
    """Key=value as in YAML: 256 is a number, true a truth value."""
    import yaml

    from i2i_unlearn.support.errors import UserError

    found: dict[str, Any] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not (key and equals):
            raise UserError(f"{one!r} is not KEY=VALUE; write for example image_size=256")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"{one!r}: the value is not YAML; put it in quotes") from None
    return found


@app.command("set")
def set_(
    setting: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE", help="A key in a section is SECTION.KEY; several at once.")
    ],
    params: options.Params = options.PARAMS,
) -> None:
    """Change settings in params.yaml.

    Nothing changes unless the result is valid. Comments stay. Operators: center_hole, outpaint, random_patches,
    half_left, half_right, half_up, half_down, free_form.

    Example: i2i-unlearn set operator=outpaint keep_fraction=0.25 unlearn.num_steps=300
    """
    from i2i_unlearn.cli.preset import show_changes
    from i2i_unlearn.config.presets import change_settings

    settings: dict[str, Any] = {}
    for path, value in _pairs(setting).items():
        *sections, key = path.split(".")
        place = settings
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    if "operator" in settings:
        from i2i_unlearn.models.operators import make_operator

        make_operator(str(settings["operator"]), 0.5, 1)  # refuses a name that is not one
    show_changes(change_settings(settings, params, what=" ".join(setting)), params)


@app.command()
def upgrade() -> None:
    """Move the project in this folder to the installed version.

    Settings, policies, the promotion ledger and metrics are carried over, or what cannot be is said. New settings get
    the package's defaults. dvc.yaml and the compiled pipelines are written again.

    Example: i2i-unlearn upgrade
    """
    from i2i_unlearn.project.upgrade import upgrade as move

    for line in move(Path()):
        typer.echo(line)
