"""Commands `data embedded`, `data import`, `data show`, `data list`, `data prototypes`, `data key`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.output import print_json

if TYPE_CHECKING:
    from i2i_unlearn.data.images.decoding import Reading
    from i2i_unlearn.data.images.shards import Written
    from i2i_unlearn.data.importers.run import Imported

app = typer.Typer(help="Images: import them into shards and inspect them.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="The data folder; shards go to its folder images.")]
Name = Annotated[str, typer.Option(help="Name of the new shard; default: the source's name.")]
SkipBroken = Annotated[bool, typer.Option(help="Skip broken images instead of stopping.")]
SkipForgotten = Annotated[bool, typer.Option(help="Skip images that a promoted model has forgotten.")]


@app.command()
def embedded(
    name: Annotated[
        Literal["digits", "photos"], typer.Argument(help="digits: 5,000 handwritten digits; photos: 2,140 crops.")
    ],
    out: Out = Path("data"),
) -> None:
    """Write an image set that comes with an installed package. `digits` also brings the demo's forget request.

    Example: i2i-unlearn data embedded digits --out data
    """
    from i2i_unlearn.data.importers.embedded import write_embedded

    _tell(write_embedded(name, out))


@app.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(help="Folder of images or of class folders, Parquet file or folder of such, table of files."),
    ],
    out: Out = Path("data"),
    name: Name = "",
    layout: Annotated[
        Literal["auto", "folder", "parquet", "places365"],
        typer.Option(
            help="How the images are stored; auto looks for the lists of Places-365, then for Parquet without pictures."
        ),
    ] = "auto",
    source_split: Annotated[
        Literal["train", "val", "test", "unknown"] | None,
        typer.Option(help="What the images were used for (test counts as val); default: as folder or file names say."),
    ] = None,
    image_column: Annotated[
        str, typer.Option(help="Column of encoded images; of tables of files: of their names.")
    ] = "image",
    label_column: Annotated[str, typer.Option(help="Column of labels; a field of a struct: column.field.")] = "label",
    id_column: Annotated[str, typer.Option(help="Column of sample ids.")] = "sample_id",
    subject_column: Annotated[str, typer.Option(help="Column of persons or owners.")] = "subject",
    split_column: Annotated[str, typer.Option(help="Column that says train, val or test.")] = "source_split",
    skip_broken: SkipBroken = False,
    skip_forgotten: SkipForgotten = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be taken for classes, splits and persons; write nothing.")
    ] = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Import images into a shard. Every image is decoded once; broken ones are listed.

    Prints what it takes for classes, splits and persons, and what it does not use, before writing anything.
    How files become pixels is said in section `images` of params.yaml, if there is one, and kept in the shard.

    Example: i2i-unlearn data import photos/ --out data --name holiday
    """
    from i2i_unlearn.data.importers.columns import Columns
    from i2i_unlearn.data.importers.run import ImportSettings, import_images, looked_at

    settings = ImportSettings(
        name=name,
        layout=layout,
        source_split=source_split or "",
        columns=Columns(image_column, id_column, label_column, subject_column, split_column),
        skip_broken=skip_broken,
        skip_forgotten=skip_forgotten,
        reading=_reading(params),
    )
    if dry_run:
        typer.echo("\n".join([*looked_at(source, settings), "nothing was written (--dry-run)"]))
        return
    imported = import_images(source, out, settings, tell=_tell_broken, look=typer.echo)
    _tell(imported.written)
    if imported.num_broken:
        typer.echo(f"{imported.num_broken} broken images were skipped (listed above)")
    if imported.num_forgotten:
        typer.echo(f"{imported.num_forgotten} images were skipped: a promoted model has forgotten them")
    _warn(imported)


def _reading(params: Path) -> "Reading":
    from i2i_unlearn.config.sections import load_params
    from i2i_unlearn.data.images.decoding import Reading

    return Reading.from_params(load_params(params) if params.exists() else {})


def _warn(imported: "Imported") -> None:
    if imported.warning:
        typer.echo(f"warning: {imported.warning}", err=True)


@app.command()
def protocol(
    preset: Annotated[str, typer.Argument(help="A preset with a protocol: imagenet1k-mae, places365-palette ...")],
    source: Annotated[Path, typer.Argument(help="The whole set as published.")],
    out: Out = Path("data"),
    name: Name = "",
    skip_broken: SkipBroken = False,
    skip_forgotten: SkipForgotten = False,
    presets: options.Presets = options.PRESETS,
    params: options.Params = options.PARAMS,
) -> None:
    """Import the images that a published experiment uses.

    Classes, and images of each, are chosen by the sha256 of their names. The labels to forget are listed in
    OUT/PRESET.forget.txt, which `request add --labels-file` takes.

    Example: i2i-unlearn data protocol imagenet1k-mae imagenet --out data
    """
    from i2i_unlearn.config.presets import find_preset
    from i2i_unlearn.data.importers.run import ImportSettings, import_protocol

    reading = _reading(params)
    settings = ImportSettings(name=name, skip_broken=skip_broken, skip_forgotten=skip_forgotten, reading=reading)
    chosen, imported = import_protocol(source, out, find_preset(presets, preset), settings, tell=_tell_broken)
    _tell(imported.written)
    _warn(imported)
    typer.echo(f"{len(chosen.forget)} classes to forget, {len(chosen.retain)} to retain")
    if chosen.short:
        typer.echo(f"{len(chosen.short)} classes have fewer images than the protocol asks for, first {chosen.short[0]}")
    typer.echo(f"file the request: i2i-unlearn request add {preset} --labels-file {out / preset}.forget.txt")


def _tell_broken(line: str) -> None:
    typer.echo(f"broken: {line}", err=True)


def _tell(written: "Written") -> None:
    for path in written.paths:
        typer.echo(f"{'unchanged' if written.unchanged else 'wrote'} {path} ({path.stat().st_size} bytes)")
    typer.echo(f"{written.num_images} images")


@app.command()
def show(images: options.Images = options.IMAGES, json: options.Json = False) -> None:
    """Count the images by shard, label, source split and size.

    Example: i2i-unlearn data show --images data/images
    """
    from i2i_unlearn.data.overview import overview

    facts = overview(images)
    if json:
        print_json(facts)
    else:
        _print_overview(facts)


@app.command()
def canaries(
    images: options.Images = options.IMAGES,
    params: options.Params = options.PARAMS,
) -> None:
    """List the canaries to withdraw, one sample id per line.

    They are the tested ones that the original was trained on (pretrain.canaries). The output is what
    `request add --ids-file` takes; their number goes to stderr.

    Example: i2i-unlearn data canaries --images data/images
    """
    from i2i_unlearn.config.sections import SplitConfig, load_params
    from i2i_unlearn.data.images.canaries import choose_canaries
    from i2i_unlearn.data.images.reading import read_index

    config = SplitConfig.from_params(load_params(params))
    index = read_index(images)
    found = choose_canaries(index, num=config.canaries, holdout_fraction=config.holdout_fraction, seed=config.seed)
    to_withdraw = found.included & found.tested
    for sample_id in index.loc[to_withdraw, "sample_id"]:
        typer.echo(sample_id)
    told = f"{to_withdraw.sum()} of {found.chosen.sum()} canaries are to be withdrawn (pretrain.canaries)"
    typer.echo(f"{told}; {found.included.sum()} were trained on", err=True)


@app.command("list")
def list_(
    what: Annotated[Literal["ids", "labels", "persons"], typer.Argument(help="What to list.")] = "ids",
    label: Annotated[list[str] | None, typer.Option(help="Only images with this label; may be repeated.")] = None,
    subject: Annotated[list[str] | None, typer.Option(help="Only images of this person; may be repeated.")] = None,
    grep: Annotated[str, typer.Option(help="Only names in which this regular expression is found.")] = "",
    images: options.Images = options.IMAGES,
    json: options.Json = False,
) -> None:
    """List sample ids, labels or persons, one per line.

    The output is what `request add --ids-file` and `--labels-file` take; their number goes to stderr.
    If all you have is a photograph, `find` lists the images that look like it.

    Example: i2i-unlearn data list --label cat --grep "tom"
    """
    from i2i_unlearn.data.overview import listed, names_listed

    if what == "ids":
        found = listed(images, labels=label or (), subjects=subject or (), pattern=grep)
        facts: object = found.drop(columns="sha256").to_dict("records")
        names = list(found["sample_id"])
    else:
        column: Literal["label", "subject"] = "label" if what == "labels" else "subject"
        counts = names_listed(images, column, labels=label or (), subjects=subject or (), pattern=grep)
        facts, names = counts, list(counts)
    if json:
        print_json(facts)
        return
    typer.echo("".join(f"{name}\n" for name in names), nl=False)
    typer.echo(f"{len(names)} {'images' if what == 'ids' else what}", err=True)


def _print_overview(facts: dict[str, Any]) -> None:
    from i2i_unlearn.support.table import table

    shards = [(shard, of["num_images"], of["bytes"]) for shard, of in facts["shards"].items()]
    typer.echo(table(("shard", "images", "bytes"), [*shards, ("all", facts["num_images"], "")]) + "\n")
    for title, key in (("label", "labels"), ("source split", "source_splits"), ("size (height x width)", "sizes")):
        typer.echo(table((title, "images"), list(facts[key].items())) + "\n")
    typer.echo(f"subjects: {facts['num_subjects']}")
    for line in facts["notes"]:
        typer.echo(line)


@app.command()
def prototypes(
    out: Annotated[Path, typer.Option(help="File to write.")],
    images: options.Images = options.IMAGES,
    teacher: Annotated[Path, typer.Option(help="Model directory; sets image size and channels.")] = options.TEACHER,
    params: options.Params = options.PARAMS,
) -> None:
    """Store the mean training image of each class. Once the real images are gone, synthetic ones are made from it.

    Example: i2i-unlearn data prototypes --out prototypes.safetensors
    """
    from i2i_unlearn.config.sections import SnapshotConfig, SplitConfig, load_params
    from i2i_unlearn.data.images.canaries import part_with_canaries
    from i2i_unlearn.data.images.holdout import TRAIN
    from i2i_unlearn.data.images.reading import load_pixels, read_index, wanted_by
    from i2i_unlearn.method.prototypes import mean_images, write_prototypes
    from i2i_unlearn.models import load_model

    content = load_params(params)
    split = SplitConfig.from_params(content)
    model = load_model(teacher, SnapshotConfig.from_params(content).model)
    index = read_index(images)
    part = part_with_canaries(index, canaries=split.canaries, holdout_fraction=split.holdout_fraction, seed=split.seed)
    rows = index[part == TRAIN].reset_index(drop=True)
    pixels = load_pixels(images, rows, **wanted_by(model), description="reading images")
    found = mean_images(pixels, list(rows["label"]))
    write_prototypes(found, out)
    typer.echo(f"wrote {out}: {len(found.means)} of {rows['label'].nunique()} classes, the others have too few images")


@app.command()
def key(
    path: Annotated[
        str, typer.Option(help="File to write; default: $I2I_UNLEARN_HMAC_KEY_FILE, then .secrets/hmac.key.")
    ] = "",
) -> None:
    """Make the secret key that turns sample ids into codes. Outside the data folder, only codes name images.

    Example: i2i-unlearn data key
    """
    from i2i_unlearn.data.split.codes import create_key

    typer.echo(f"wrote {create_key(path or None)}; keep it secret and back it up: another key gives other codes")
