"""Command `forget`: a request from its filing to its verdict. `demo` is the same for the embedded digits."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from i2i_unlearn.cli import options, request
from i2i_unlearn.cli.next_step import after_register, next_step
from i2i_unlearn.support.errors import UserError

if TYPE_CHECKING:
    from i2i_unlearn.data.filing import Workspace
    from i2i_unlearn.data.request import ForgetRequest

app = typer.Typer()


@app.command()
def forget(
    id_: request.Id,
    label: request.Labels = None,
    labels_file: request.LabelsFile = None,
    subject: request.Subjects = None,
    sample_id: request.SampleIds = None,
    ids_file: request.IdsFile = None,
    received: request.Received = None,
    due: request.Due = None,
    extension_reason: request.ExtensionReason = "",
    basis: request.Basis = "not stated",
    note: request.Note = "",
    near_duplicates: request.NearDuplicates = "keep",
    allow_large: request.AllowLarge = False,
    preview: Annotated[bool, typer.Option("--preview", help="Say what the request takes along; run nothing.")] = False,
) -> None:
    """Carry out a forget request: file, run, register, show the verdict.

    Only what is out of date runs. Repeat the command, or give the id alone, to continue where it stopped.

    Example: i2i-unlearn forget w-1 --ids-file withdrawn.txt --basis "withdrawn consent"
    """
    from i2i_unlearn.data.filing import Workspace
    from i2i_unlearn.requests.carry_out import carry_out

    words = {"extension_reason": extension_reason, "basis": basis, "note": note, "near_duplicates": near_duplicates}
    workspace = Workspace(images=options.IMAGES, requests=options.REQUESTS, params=options.PARAMS)
    selectors = (label, labels_file, subject, sample_id, ids_file)
    if any(selectors) or not (workspace.requests / f"{id_}.yaml").exists():
        given = request.requested(id_, (label, labels_file), subject, (sample_id, ids_file), received, due, **words)
        if preview:
            _preview(given, workspace, ids_file, allow_large)
            return
        _file(given, workspace, ids_file, allow_large)
    elif preview:
        raise UserError(f"request {id_} is filed already; `i2i-unlearn request show {id_}` shows what it selects")
    done = carry_out()
    version = f"MLflow: {done.version['model_name']} version {done.version['version']}"
    alias = f"alias {done.version['alias']}" if done.version["alias"] else "no alias"
    typer.echo("\n".join(("", *last_screen(Path.cwd(), [f"{version}, {alias}"]))))
    typer.echo(next_step("register", after_register(done.version), version=done.version["version"]))


def _preview(given: "ForgetRequest", workspace: "Workspace", ids_file: Path | None, allow_large: bool) -> None:
    from i2i_unlearn.config.sections import ReferenceConfig, load_params
    from i2i_unlearn.requests.preview import look, told

    how = {"preview": True, "allow_large": allow_large}
    filed, foresight, _ = request.file(given, workspace, options.POLICIES, ids_file, **how)
    taken, params = filed.taken, load_params(workspace.params)
    of_all = f"{taken.training:,} of {taken.of:,} training images ({taken.share:.2%})"
    typer.echo(f"Nothing was filed. Request {given.id} takes {of_all}.")
    if taken.erased:
        typer.echo(f"forgotten before: {taken.erased} of the images that it names")
    for line in told(look(given, workspace, params, ids_file=ids_file), ReferenceConfig.from_params(params).count):
        typer.echo(line)
    request.tell_foresight(foresight, filed.images, filed.together)


def _file(given: "ForgetRequest", workspace: "Workspace", ids_file: Path | None, allow_large: bool) -> None:
    from i2i_unlearn.data.filing import filed_before

    if filed_before(given, workspace, ids_file):
        typer.echo(f"Request {given.id} is filed; going on with it.")
        return
    filed, foresight, listed = request.file(given, workspace, options.POLICIES, ids_file, allow_large=allow_large)
    typer.echo(f"Filed request {given.id}: {filed.num_selected} images, due {given.due}")
    before = f"Forgotten before: {filed.taken.erased} of these images" if filed.taken.erased else ""
    teacher = f"The next teacher: {filed.source}" if filed.source else ""
    for line in filter(None, (before, listed, teacher, foresight and foresight.outcome())):
        typer.echo(line)


def last_screen(project: Path, version_lines: Iterable[str]) -> Iterator[str]:
    """What was forgotten, the three models, the verdicts, the version and where the report is: 24 lines at most."""
    from i2i_unlearn.report.terminal_summary import summary_lines, wrapped
    from i2i_unlearn.support.files import read_json

    split, found = read_json(project / options.SPLITS / "summary.json"), project / options.EVALUATION
    yield f"Forgotten: {split['num_forget']:,} of {split['num_images']:,} images (request {split['requests']})"
    yield from summary_lines(read_json(found / "metrics.json"), read_json(found / "verdicts.json"))
    yield ""
    for line in version_lines:
        yield from wrapped(line)
    yield f"Report: {options.EVALUATION / 'report.html'}"
