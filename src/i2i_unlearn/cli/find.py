"""Command `find`: which images look like a photograph."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.output import print_json

if TYPE_CHECKING:
    from PIL import Image

    from i2i_unlearn.data.search.index import Opened
    from i2i_unlearn.data.search.nearest import Found

    Answers = Mapping[str, tuple[Image.Image, Sequence[Found], int]]
    """By photograph: it, what was found, and how many nearer images are forgotten and not shown."""

app = typer.Typer()


@app.command()
def find(
    photographs: Annotated[
        list[Path] | None, typer.Argument(help="Pictures to look for; none = bring the index up to date.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=100, help="How many images to show for each photograph.")] = 10,
    ids_out: Annotated[
        Path | None, typer.Option(help="Write the ids of images that look the same here, for `forget --ids-file`.")
    ] = None,
    include_forgotten: Annotated[
        bool, typer.Option("--include-forgotten", help="Also show images that a promoted model has forgotten.")
    ] = False,
    page: Annotated[bool, typer.Option(help="Make a page with the pictures, readable by its owner alone.")] = True,
    days: Annotated[int, typer.Option(min=1, max=90, help="Days until the page expires.")] = 14,
    out: Annotated[Path, typer.Option(help="Folder of review pages; `review clean` deletes them.")] = Path(".review"),
    index: Annotated[
        Path, typer.Option(help="Folder of the index, one for each --images: 92 MB for a million images.")
    ] = Path(".image-index"),
    images: options.Images = options.IMAGES,
    requests: options.Requests = options.REQUESTS,
    hmac_key_file: options.KeyFile = None,
    json: options.Json = False,
) -> None:
    """Find the images that look like a photograph. It may be cropped, mirrored, turned or recoloured.

    The first call describes every image once (minutes for a million small ones); later ones take what is there, and
    describe only the shards that changed. Shows sample id, label and person.

    Example: i2i-unlearn find photo.jpg --ids-out found.txt
    """
    from i2i_unlearn.data.search.index import open_index
    from i2i_unlearn.data.search.nearest import nearest

    looked_for = _read(photographs or [])
    is_forgotten = None if include_forgotten else _forgotten(requests, hmac_key_file)
    opened = open_index(images, index)
    _tell_index(opened, index)
    answers = {name: (one, *nearest(opened, images, one, top, is_forgotten)) for name, one in looked_for.items()}
    written = _write_page(answers, days, out) if page and answers else None
    if json:
        print_json(_facts(opened, answers, written))
    else:
        _tell(answers)
        if written:
            typer.echo(f"Delete it within {days} days: i2i-unlearn review clean --folder {out}\nPage: {written}")
    if ids_out:
        _write_ids(ids_out, answers)


def _read(paths: Sequence[Path]) -> "dict[str, Image.Image]":
    """The photographs by the path that was given."""
    from i2i_unlearn.data.images.decoding import open_image
    from i2i_unlearn.data.search.description import is_flat
    from i2i_unlearn.support.errors import UserError

    pictures = {str(path): open_image(path.read_bytes(), name=str(path)) for path in paths}
    for name, picture in pictures.items():
        if is_flat(picture):
            raise UserError(f"{name}: shows one grey level only, which looks like nothing; give another picture")
    return pictures


def _forgotten(requests: Path, key_file: str | None) -> "Callable[[str], bool] | None":
    """Tells by an image's sha256 whether a promoted model has forgotten it; None where nothing is forgotten yet."""
    from i2i_unlearn.data.forgotten import read_forgotten
    from i2i_unlearn.data.split.codes import load_key

    listed = read_forgotten(requests)
    if not listed.requests:
        return None
    key = load_key(key_file)
    return lambda sha256: bool(listed.look_up(key, [sha256])[0])


def _write_page(answers: "Answers", days: int, out: Path) -> Path:
    import datetime

    from i2i_unlearn.report.similar import write_similar

    expires = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=days)
    pictures = {name: (photograph, found) for name, (photograph, found, _) in answers.items()}
    return write_similar(pictures, expires, out)


def _tell_index(opened: "Opened", index: Path) -> None:
    """To stderr, so that --json stays JSON."""
    changes = [
        f"described {opened.num_made} images" if opened.num_made else "",
        f"removed {opened.num_removed} shards that changed or are gone" if opened.num_removed else "",
    ]
    typer.echo(f"{index}: {opened.num_images} images; {', '.join(filter(None, changes)) or 'up to date'}", err=True)


def _tell(answers: "Answers") -> None:
    from i2i_unlearn.support.table import table

    for name, (_, found, num_hidden) in answers.items():
        rows = [
            (*(one.sample_id, ", ".join(one.labels), ", ".join(one.subjects)), _looks(one.is_same, one.correlation))
            for one in found
        ]
        typer.echo(f"{name}:\n{table(('sample id', 'label', 'person', 'looks'), rows)}")
        if num_hidden:
            typer.echo(f"{num_hidden} images that a promoted model has forgotten are not shown (--include-forgotten)")


def _looks(is_same: bool, correlation: float) -> str:
    return f"{'the same' if is_same else 'alike'} ({correlation:.2f})"


def _facts(opened: "Opened", answers: "Answers", page: Path | None) -> dict[str, object]:
    found = {
        name: [
            {
                **{"sample_id": one.sample_id, "labels": one.labels, "subjects": one.subjects},
                **{"correlation": round(one.correlation, 4), "same": one.is_same},
            }
            for one in found
        ]
        for name, (_, found, _) in answers.items()
    }
    hidden = {name: num_hidden for name, (_, _, num_hidden) in answers.items()}
    return {"num_images": opened.num_images, "found": found, "num_forgotten_hidden": hidden, "page": page}


def _write_ids(path: Path, answers: "Answers") -> None:
    """Only of images that look the same: a list that goes into a request must not name strangers."""
    from i2i_unlearn.support.errors import UserError
    from i2i_unlearn.support.files import atomic_file

    ids = list(dict.fromkeys(one.sample_id for _, found, _ in answers.values() for one in found if one.is_same))
    if not ids:
        raise UserError(f"{path}: not written, since no image looks the same; copy ids from the table if you see some")
    with atomic_file(path) as aside:
        aside.chmod(0o600)
        aside.write_text("".join(f"{sample_id}\n" for sample_id in ids), encoding="utf-8")
    typer.echo(
        f"wrote {path}: {len(ids)} ids of images that look the same; look at each, then file the request:", err=True
    )
    typer.echo(f"  i2i-unlearn forget NAME --ids-file {shlex.quote(str(path))} --preview", err=True)
