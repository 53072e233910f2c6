"""Commands `data embedded`, `data import`, `data show`, `data prototypes`, `data key`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from i2i_unlearn.data.images.shards import Written

app = typer.Typer(help="Images: bring them into shards and look at them.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="The data folder; shards go to its folder images.")]


@app.command()
def embedded(
    name: Annotated[
        Literal["digits", "photos"], typer.Argument(help="digits: 5,000 handwritten digits; photos: 2,140 crops.")
    ],
    out: Out = Path("data"),
) -> None:
    """Bring an image set that comes with an installed package; digits also brings the demo's forget request.

    Example: i2i-unlearn data embedded digits --out data
    """
    from i2i_unlearn.data.importers.embedded import write_embedded

    _tell(write_embedded(name, out))


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Folder of class folders, Parquet file, or folder of Parquet files.")],
    out: Out = Path("data"),
    name: Annotated[str, typer.Option(help="Name of the new shard; default: the source's name.")] = "",
    layout: Annotated[
        Literal["auto", "folder", "parquet", "places365"],
        typer.Option(help="How the images lie; auto looks for the file lists of Places-365, then for Parquet files."),
    ] = "auto",
    source_split: Annotated[
        Literal["train", "val", "test", "unknown"] | None,
        typer.Option(help="What the images were used for (test counts as val); default: as folder or file names say."),
    ] = None,
    image_column: Annotated[str, typer.Option(help="Parquet: column of encoded images.")] = "image",
    label_column: Annotated[str, typer.Option(help="Parquet: column of labels.")] = "label",
    id_column: Annotated[str, typer.Option(help="Parquet: column of sample ids.")] = "sample_id",
    subject_column: Annotated[str, typer.Option(help="Parquet: column of persons or owners.")] = "subject",
    skip_broken: Annotated[bool, typer.Option(help="Import the others when images are broken.")] = False,
) -> None:
    """Import images into a shard. Every image is decoded once; broken ones are listed.

    Example: i2i-unlearn data import photos/ --out data --name holiday
    """
    from i2i_unlearn.data.importers.parquet import Columns
    from i2i_unlearn.data.importers.run import ImportSettings, import_images

    settings = ImportSettings(
        name=name,
        layout=layout,
        source_split=source_split or "",
        columns=Columns(image_column, id_column, label_column, subject_column),
        skip_broken=skip_broken,
    )
    imported = import_images(source, out, settings, tell=lambda line: typer.echo(f"broken: {line}", err=True))
    _tell(imported.written)
    if imported.num_broken:
        typer.echo(f"{imported.num_broken} broken images were left out (listed above)")


@app.command()
def protocol(
    preset: Annotated[str, typer.Argument(help="A preset with a protocol: imagenet1k-mae, places365-palette ...")],
    source: Annotated[Path, typer.Argument(help="The whole set as it is published.")],
    out: Out = Path("data"),
    name: Annotated[str, typer.Option(help="Name of the new shard; default: the source's name.")] = "",
    skip_broken: Annotated[bool, typer.Option(help="Import the others when images are broken.")] = False,
    presets: Annotated[Path, typer.Option(help="Folder of the presets.")] = Path("presets"),
) -> None:
    """Import what a published experiment takes of a set: so many classes, and so many images of each.

    They are chosen by the sha256 of their names. The labels to forget are listed in OUT/PRESET.forget.txt, which
    `request add` takes.

    Example: i2i-unlearn data protocol imagenet1k-mae imagenet --out data
    """
    from i2i_unlearn.config.presets import find_preset
    from i2i_unlearn.data.importers.run import ImportSettings, import_protocol

    settings = ImportSettings(name=name, skip_broken=skip_broken)
    chosen, imported = import_protocol(
        source, out, find_preset(presets, preset), settings, tell=lambda line: typer.echo(f"broken: {line}", err=True)
    )
    _tell(imported.written)
    typer.echo(f"{len(chosen.forget)} classes to forget, {len(chosen.retain)} to retain")
    if chosen.short:
        typer.echo(f"{len(chosen.short)} classes have fewer images than the protocol wants, first {chosen.short[0]}")
    typer.echo(f"file the request: i2i-unlearn request add {preset} --labels-file {out / preset}.forget.txt")


def _tell(written: "Written") -> None:
    for path in written.paths:
        typer.echo(f"{'unchanged' if written.unchanged else 'wrote'} {path} ({path.stat().st_size} bytes)")
    typer.echo(f"{written.num_images} images")


@app.command()
def show(
    images: Annotated[str, typer.Option(help="Folder or URI of the image shards.")] = "data/images",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show shards, labels, source splits and sizes.

    Example: i2i-unlearn data show --images data/images
    """
    from i2i_unlearn.data.overview import overview

    facts = overview(images)
    if json:
        from json import dumps

        typer.echo(dumps(facts, indent=2))
    else:
        _print_overview(facts)


def _print_overview(facts: dict[str, Any]) -> None:
    from i2i_unlearn.cli.table import table

    shards = [(shard, of["num_images"], of["bytes"]) for shard, of in facts["shards"].items()]
    typer.echo(table(("shard", "images", "bytes"), [*shards, ("all", facts["num_images"], "")]) + "\n")
    for title, key in (("label", "labels"), ("source split", "source_splits"), ("size (height x width)", "sizes")):
        typer.echo(table((title, "images"), list(facts[key].items())) + "\n")
    typer.echo(f"subjects: {facts['num_subjects']}")


@app.command()
def prototypes(
    out: Annotated[Path, typer.Option(help="File to write.")],
    images: Annotated[str, typer.Option(help="Folder or URI of the image shards.")] = "data/images",
    teacher: Annotated[Path, typer.Option(help="Model directory; it tells size and channels.")] = Path(
        "artifacts/teacher/model"
    ),
    params: Annotated[Path, typer.Option(help="The file of all settings.")] = Path("params.yaml"),
) -> None:
    """Store the mean image of each class of the training images, for synthetic retain images when these are gone.

    Example: i2i-unlearn data prototypes --out prototypes.safetensors
    """
    from i2i_unlearn.config.sections import SnapshotConfig, SplitConfig, load_params
    from i2i_unlearn.data.images.holdout import TRAIN, training_part
    from i2i_unlearn.data.images.reading import load_pixels, read_index
    from i2i_unlearn.method.prototypes import mean_images, write_prototypes
    from i2i_unlearn.models import load_model

    content = load_params(params)
    split = SplitConfig.from_params(content)
    model = load_model(teacher, SnapshotConfig.from_params(content).model)
    index = read_index(images)
    part = training_part(index, holdout_fraction=split.holdout_fraction, seed=split.seed)
    rows = index[part == TRAIN].reset_index(drop=True)
    pixels = load_pixels(
        images, rows, image_size=model.image_size, num_channels=model.num_channels, description="reading images"
    )
    found = mean_images(pixels, list(rows["label"]))
    write_prototypes(found, out)
    typer.echo(f"wrote {out}: {len(found.means)} of {rows['label'].nunique()} classes, the others have too few images")


@app.command()
def key(
    path: Annotated[
        str, typer.Option(help="File to write; default: I2I_UNLEARN_HMAC_KEY_FILE or .secrets/hmac.key.")
    ] = "",
) -> None:
    """Make the key for the codes that stand for sample ids in everything that leaves the data folder.

    Example: i2i-unlearn data key
    """
    from i2i_unlearn.data.split.codes import create_key

    typer.echo(f"wrote {create_key(path or None)}; keep it secret, and keep it: another key gives other codes")
