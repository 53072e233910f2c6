"""Commands `preset list`, `preset show`, `preset use`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from i2i_unlearn.cli import options

if TYPE_CHECKING:
    from i2i_unlearn.config.presets import Change

app = typer.Typer(help="Presets: settings that go together, applied to params.yaml.", no_args_is_help=True)


class NamesPresets(TyperCommand):
    """A command whose help ends with the names of the presets there are: the project's, or those of the package."""

    def format_epilog(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """One line of names."""
        from i2i_unlearn.support.package_data import package_data

        folder = options.PRESETS if options.PRESETS.is_dir() else package_data("presets")
        with formatter.section("Presets"):
            formatter.write_text(", ".join(sorted(path.stem for path in folder.glob("*.yaml"))))


Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the preset; `preset list` prints them.")]


@app.command("list")
def list_presets(presets: options.Presets = options.PRESETS) -> None:
    """Print the presets and what each is for.

    Example: i2i-unlearn preset list
    """
    from i2i_unlearn.config.presets import read_presets
    from i2i_unlearn.support.table import table

    typer.echo(table(("preset", "for"), [(preset.name, preset.description) for preset in read_presets(presets)]))


@app.command(cls=NamesPresets)
def show(name: Name, presets: options.Presets = options.PRESETS) -> None:
    """Print the settings of a preset.

    Example: i2i-unlearn preset show paper
    """
    import yaml

    from i2i_unlearn.config.presets import find_preset

    preset = find_preset(presets, name)
    protocol = {} if preset.protocol is None else {"protocol": preset.protocol}
    content = {"description": preset.description, **protocol, **preset.settings}
    typer.echo(yaml.safe_dump(content, sort_keys=False), nl=False)


@app.command(cls=NamesPresets)
def use(name: Name, presets: options.Presets = options.PRESETS, params: options.Params = options.PARAMS) -> None:
    """Apply a preset to params.yaml and print what changed. Changes nothing if the result is not valid.

    Example: i2i-unlearn preset use paper
    """
    from i2i_unlearn.config.presets import find_preset, use_preset

    show_changes(use_preset(find_preset(presets, name), params), params)


def show_changes(changes: "Sequence[Change]", params: Path) -> None:
    """Print what changed in a settings file, as a table."""
    from i2i_unlearn.support.table import table

    if not changes:
        typer.echo(f"{params} has these settings already")
        return
    rows = [(change.key, "" if change.before is None else str(change.before), str(change.after)) for change in changes]
    typer.echo(table(("setting", "before", "now"), rows))
