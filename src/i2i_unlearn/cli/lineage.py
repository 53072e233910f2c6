"""Command `registry lineage`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.output import print_json

if TYPE_CHECKING:
    from i2i_unlearn.registry.lineage import Node

app = typer.Typer()


@app.command()
def lineage(
    version: Annotated[str, typer.Option(help="Show where this version comes from, back to the original.")] = "",
    sample: Annotated[str, typer.Option(help="Sample id: show which versions knew or unlearned it.")] = "",
    subject: Annotated[str, typer.Option(help="As --sample, for all images of a person.")] = "",
    label: Annotated[str, typer.Option(help="As --sample, for all images with a label.")] = "",
    images: options.Images = options.IMAGES,
    hmac_key_file: options.KeyFile = None,
    json: options.Json = False,
    params: options.Params = options.PARAMS,
) -> None:
    """Trace a version to the original, or an image to the versions.

    With --version, shows what it was made from. Otherwise, shows which versions knew or unlearned the images.

    Example: i2i-unlearn registry lineage --version 2
    """
    from dataclasses import asdict

    from i2i_unlearn.config.sections import RegisterConfig, load_params
    from i2i_unlearn.registry import lineage as stage
    from i2i_unlearn.registry import tracking
    from i2i_unlearn.support.errors import UserError
    from i2i_unlearn.support.table import table

    if sum(map(bool, (version, sample, subject, label))) != 1:
        raise UserError("give exactly one of --version, --sample, --subject, --label")
    name = RegisterConfig.from_params(load_params(params)).model_name
    if version:
        with tracking.connect() as server:
            node = stage.of_version(server, name, version)
        if json:
            print_json(asdict(node))
        else:
            _print_tree(node)
        return
    codes = _codes(images, hmac_key_file, sample=sample, subject=subject, label=label)
    with tracking.connect() as server:
        touches = stage.of_samples(server, name, codes)
    if json:
        print_json([asdict(one) for one in touches])
        return
    rows = [
        (one.version, one.kind, ", ".join(one.aliases), ", ".join(f"{what}: {num}" for what, num in one.counts.items()))
        for one in touches
    ]
    typer.echo(table(("version", "kind", "alias", "images"), rows))


def _codes(images: str, key_file: str | None, *, sample: str, subject: str, label: str) -> set[str]:
    """Keyed codes of the images in question; only --sample works without the images."""
    from i2i_unlearn.data.images.reading import read_index
    from i2i_unlearn.data.split.codes import hmac_id, load_key
    from i2i_unlearn.support.errors import UserError

    key = load_key(key_file)
    if sample:
        return {hmac_id(key, sample)}
    index = read_index(images)
    column, value = ("subject", subject) if subject else ("label", label)
    ids = index.loc[index[column] == value, "sample_id"].tolist()
    if not ids:
        raise UserError(f"no image in {images} has this {column}; `i2i-unlearn data show` lists what is there")
    return {hmac_id(key, id_) for id_ in ids}


def _print_tree(node: "Node | None") -> None:
    """Each teacher is indented below the version that was made from it."""
    title, indent = "", ""
    while node is not None:
        typer.echo(f"{indent}{title}{_title(node)}")
        title, indent = "teacher: ", f"{indent}  "
        for line in _lines(node):
            typer.echo(f"{indent}{line}")
        node = node.teacher


def _title(node: "Node") -> str:
    aliases = f" ({', '.join(node.aliases)})" if node.aliases else ""
    return f"{node.model_name} version {node.version}, {node.kind or 'of no kind'}{aliases}"


def _lines(node: "Node") -> Iterator[str]:
    gate = f"{node.gate} (policy {node.gate_policy})" if node.gate else ""
    told = {
        "requests": ", ".join(node.requests),
        "erased before": ", ".join(node.erased),
        "weights": node.model_sha256,
        "split manifest": node.manifest_sha256,
        "code": node.git_commit,
        "data": node.data_md5,
        "run": node.run_id,
        "Kubeflow run": node.kfp_run_id,
        "gate": gate,
        **node.evidence,
        "teacher": node.teacher_note,
    }
    yield from (f"{what}: {value}" for what, value in told.items() if value)
