"""Commands `request add`, `request list`, `request show`."""

import shlex
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2i_unlearn.cli import options
from i2i_unlearn.cli.next_step import next_step
from i2i_unlearn.cli.output import print_json

if TYPE_CHECKING:
    from i2i_unlearn.config.sections import EvaluateConfig, ReferenceConfig
    from i2i_unlearn.data.filing import Champion, Filed, Workspace
    from i2i_unlearn.data.request import ForgetRequest
    from i2i_unlearn.evaluation.foresight import Foreseen, Foresight
    from i2i_unlearn.evaluation.policy import Policy
    from i2i_unlearn.registry.requests import Standing

    Judging = tuple[EvaluateConfig, ReferenceConfig, Policy]

app = typer.Typer(help="Forget requests: file them and watch their deadlines.", no_args_is_help=True)


Id = Annotated[str, typer.Argument(metavar="ID", help="Name of the request: small letters, digits, - and _.")]
Labels = Annotated[list[str] | None, typer.Option(help="Forget images with this label; may be repeated.")]
LabelsFile = Annotated[Path | None, typer.Option(help="Forget the labels listed here, one per line.")]
Subjects = Annotated[list[str] | None, typer.Option(help="Forget images of this person; may be repeated.")]
SampleIds = Annotated[list[str] | None, typer.Option(help="Forget this image; may be repeated.")]
IdsFile = Annotated[Path | None, typer.Option(help="Forget the images listed here, one sample id per line.")]
Received = Annotated[datetime | None, typer.Option(formats=options.DAY, help="Day it arrived; default: today.")]
Due = Annotated[datetime | None, typer.Option(formats=options.DAY, help="Last day; default: one month later.")]
ExtensionReason = Annotated[str, typer.Option(help="Why the last day is later than one month.")]
Basis = Annotated[str, typer.Option(help="Why the images must be forgotten.")]
Note = Annotated[str, typer.Option(help="Anything else worth knowing.")]
NearDuplicates = Annotated[
    str,
    typer.Option(
        help="What happens to near-copies that the request does not name: include (forget them too), drop (use them"
        " for nothing) or keep."
    ),
]
AllowLarge = Annotated[
    bool, typer.Option("--allow-large", help="File it even if it takes more images than request.largest_share.")
]


@app.command()
def add(
    id_: Id,
    label: Labels = None,
    labels_file: LabelsFile = None,
    subject: Subjects = None,
    sample_id: SampleIds = None,
    ids_file: IdsFile = None,
    received: Received = None,
    due: Due = None,
    extension_reason: ExtensionReason = "",
    basis: Basis = "not stated",
    note: Note = "",
    near_duplicates: NearDuplicates = "keep",
    allow_large: AllowLarge = False,
    images: options.Images = options.IMAGES,
    requests: options.Requests = options.REQUESTS,
    params: options.Params = options.PARAMS,
    policies: options.Policies = options.POLICIES,
    commit: Annotated[bool, typer.Option(help="Run the DVC and git commands that version the request.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Check and tell everything, write nothing.")] = False,
    json: options.Json = False,
) -> None:
    """File a forget request.

    Writes its file and makes it active in params.yaml, or changes nothing. Requests that the promoted model has
    forgotten become `erased`, and that model becomes the next teacher. Tells what the deciding policy will be able to
    decide with so many images and references.

    Example: i2i-unlearn request add digit-7 --label 7 --basis "withdrawn consent"
    """
    from i2i_unlearn.data.filing import Workspace

    words = {"extension_reason": extension_reason, "basis": basis, "note": note, "near_duplicates": near_duplicates}
    request = requested(id_, (label, labels_file), subject, (sample_id, ids_file), received, due, **words)
    workspace = Workspace(images=images, requests=requests, params=params)
    how = {"commit": commit, "preview": preview, "allow_large": allow_large}
    filed, foresight, listed = file(request, workspace, policies, ids_file, **how)
    if json:
        print_json(_facts(request, filed, foresight, preview))
        return
    if listed:
        typer.echo(listed)
    _tell(request, requests, filed, committed=commit, preview=preview)
    tell_foresight(foresight, filed.images, filed.together)
    typer.echo(next_step("request add", "preview" if preview else "filed"))


def requested(
    id_: str,
    labels: tuple[list[str] | None, Path | None],
    subjects: list[str] | None,
    sample_ids: tuple[list[str] | None, Path | None],
    received: datetime | None,
    due: datetime | None,
    **words: str,
) -> "ForgetRequest":
    """The request that the options describe; labels and sample ids are given singly, in a file, or both.

    Raises:
        UserError: a file cannot be read, or the options contradict each other.
    """
    from i2i_unlearn.data.request import make_request, one_month_after, read_ids

    day = received.date() if received else date.today()
    named, file_of_names = labels
    single, ids_file = sample_ids
    selector = {
        "labels": [*(named or []), *(read_ids(file_of_names) if file_of_names else [])],
        "subjects": subjects or [],
        "sample_ids": single or [],
        "ids_file": f"{id_}.ids.txt" if ids_file else "",
    }
    return make_request(
        id=id_, received=day, due=due.date() if due else one_month_after(day), selector=selector, **words
    )


def file(
    request: "ForgetRequest",
    workspace: "Workspace",
    policies: Path,
    ids_file: Path | None,
    *,
    commit: bool = False,
    preview: bool = False,
    allow_large: bool = False,
) -> "tuple[Filed, Foresight | None, str]":
    """File `request`: what changed, what the policy can decide, and what was added to the list of the forgotten.

    Raises:
        UserError: as `data.filing.file_request`, and where settings or policies have faults. Then nothing is changed.
    """
    from i2i_unlearn.config.sections import RequestConfig, load_params
    from i2i_unlearn.data.filing import file_request

    most = 1.0 if allow_large else RequestConfig.from_params(load_params(workspace.params)).largest_share
    champion = _champion(workspace.params, "" if preview else workspace.requests)
    judging = how_judged(workspace.params, policies)  # before anything is written: settings may have faults
    how = {"commit": commit, "preview": preview}
    filed = file_request(request, workspace, champion, ids_file=ids_file, largest_share=most, **how)
    return filed, what_can_be_decided(filed.images, judging), champion.listed if champion else ""


def _champion(params: Path, requests: Path | str) -> "Champion | None":
    from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig, load_params
    from i2i_unlearn.registry.requests import find_champion

    content = load_params(params)
    record = PromoteConfig.from_params(content).ledger
    return find_champion(RegisterConfig.from_params(content).model_name, record, requests)


def _facts(request: "ForgetRequest", filed: "Filed", foresight: "Foresight | None", preview: bool) -> dict[str, Any]:
    from i2i_unlearn.evaluation.foresight import as_facts

    return {
        "id": request.id,
        "due": request.due,
        "written": not preview,
        "num_selected": filed.num_selected,
        "num_forgotten_before": filed.taken.erased,
        "share_of_training_images": round(filed.taken.share, 6),
        "now_erased": filed.moved,
        "teacher": filed.source,
        "version_with": filed.steps,
        "together_with": filed.together,
        "images": filed.images,
        "can_be_decided": foresight and as_facts(foresight),
    }


def _tell(request: "ForgetRequest", folder: Path, filed: "Filed", *, committed: bool, preview: bool) -> None:
    wrote = "nothing was written; would write" if preview else "wrote"
    typer.echo(f"{wrote} {folder / request.id}.yaml: it selects {filed.num_selected} images and is due {request.due}")
    if filed.moved:
        typer.echo(f"forgotten by the promoted model, now in split.erased: {', '.join(filed.moved)}")
    if filed.source:
        typer.echo(f"the next teacher: {filed.source}")
    if filed.taken.erased:
        typer.echo(f"forgotten before: {filed.taken.erased} of these images")
    if preview:
        return
    typer.echo("versioned by:" if committed else "version it with:")
    for step in filed.steps:
        typer.echo(f"  {shlex.join(step)}")


def how_judged(params: Path, policies: Path) -> "Judging | None":
    """How a request will be judged; None where the project has no folder of policies."""
    from i2i_unlearn.config.sections import EvaluateConfig, ReferenceConfig, load_params
    from i2i_unlearn.evaluation.policy import parse_policy, read_policies
    from i2i_unlearn.support.errors import UserError

    if not policies.is_dir():
        return None
    content = load_params(params)
    known = read_policies(policies)
    config, reference = EvaluateConfig.from_params(content, policies=known), ReferenceConfig.from_params(content)
    if config.policy not in known:
        raise UserError(f"evaluate.policy={config.policy!r} is not known; policies in {policies}: {', '.join(known)}")
    return config, reference, parse_policy(config.policy, known[config.policy])


def what_can_be_decided(counts: Mapping[str, Mapping[str, int]], judging: "Judging | None") -> "Foresight | None":
    """What the deciding policy can decide."""
    from i2i_unlearn.evaluation.foresight import Numbers, foresee

    if judging is None:
        return None
    config, reference, policy = judging
    numbers = Numbers(
        images=counts,
        references=reference.count + len(reference.models),
        max_images=config.max_images,
        max_audited=config.audits.max_images,
        rehearsal=config.rehearsal,
    )
    return foresee(policy, numbers)


def tell_foresight(
    foresight: "Foresight | None", counts: Mapping[str, Mapping[str, int]], together: Sequence[str]
) -> None:
    """Print what the policy can decide with so many images, and together with which requests."""
    from i2i_unlearn.evaluation.findings import NEVER_SEEN_SETS
    from i2i_unlearn.support.table import table

    if foresight is None:
        return
    total = {role: sum(by_label.values()) for role, by_label in counts.items()}
    never_seen = sum(total.get(name, 0) for name in NEVER_SEEN_SETS)
    if together:
        typer.echo(f"carried out, and judged, together with: {', '.join(together)}")
    counted = ", ".join(
        f"{count} {name}"
        for name, count in (
            ("forget", total.get("forget", 0)),
            ("retain", total.get("retain", 0)),
            ("never-seen", never_seen),
        )
    )
    typer.echo(f"what policy {foresight.policy} can decide with {counted} images (docs/audits.md):")
    rows = [(line.line, _expected(line), line.lacks) for line in foresight.lines]
    typer.echo(table(("line", "smallest effect", "lacks"), rows))
    for count, added in foresight.by_references.items():
        what = "; ".join(added) or "nothing"
        typer.echo(f"reference.count {count} adds: {what}")
    typer.echo(foresight.outcome())


def _expected(line: "Foreseen") -> str:
    if not line.can_decide:
        return "undecided" if line.counts else "does not count"
    told = "unknown" if line.smallest is None else f"{line.smallest:.2g} {line.unit}".rstrip()
    return f"{told}, by rehearsal" if line.by_rehearsal else told


@app.command("list")
def list_(
    requests: options.Requests = options.REQUESTS,
    params: options.Params = options.PARAMS,
    check: Annotated[
        bool, typer.Option("--check", help="Ask MLflow too: did a version pass? Takes ten seconds.")
    ] = False,
    json: options.Json = False,
) -> None:
    """List the requests with deadline and state, overdue ones first.

    State: open, expired (open, and its last day is past), promoted (the model in use has forgotten it, by the promotion
    ledger). With --check also not passed (a version was registered, the gate did not pass), gated (it passed), and
    unknown (MLflow cannot be reached).

    Example: i2i-unlearn request list --json
    """
    from dataclasses import asdict

    from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig, SplitConfig, load_params
    from i2i_unlearn.data.request import read_requests
    from i2i_unlearn.registry.requests import recorded_facts, registry_facts, standings
    from i2i_unlearn.support.table import table

    content = load_params(params)
    model_name, record = RegisterConfig.from_params(content).model_name, PromoteConfig.from_params(content).ledger
    known = (registry_facts if check else recorded_facts)(model_name, record)
    found = standings(read_requests(requests), SplitConfig.from_params(content), known, date.today())
    if json:
        print_json([asdict(one) for one in found])
    else:
        head = ("request", "received", "due", "days left", "extended", "paused", "state")
        typer.echo(table(head, [_row(one) for one in found]))
    if known.unreachable:
        unknown = ", ".join(one.id for one in found if one.state == "unknown") or "none"
        typer.echo(f"state unknown: {unknown}; {known.unreachable}", err=True)


def _row(one: "Standing") -> tuple[object, ...]:
    paused = f"{one.paused_days} days{', now' if one.paused else ''}" if one.paused_days or one.paused else ""
    marks = " (active)" * (one.active and one.state != "promoted") + " OVERDUE" * one.overdue
    extended = "yes" if one.extended else ""
    return one.id, one.received, one.due, one.days_left, extended, paused, f"{one.state}{marks}"


@app.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Name of the request.")],
    images: options.Images = options.IMAGES,
    requests: options.Requests = options.REQUESTS,
    params: options.Params = options.PARAMS,
    policies: options.Policies = options.POLICIES,
    json: options.Json = False,
) -> None:
    """Print a request, what it selects and what the policy can decide of it.

    Example: i2i-unlearn request show digit-3
    """
    from i2i_unlearn.config.sections import SplitConfig, load_params
    from i2i_unlearn.data.overview import planned_counts, selected_counts
    from i2i_unlearn.data.request import read_request, request_bytes
    from i2i_unlearn.evaluation.foresight import as_facts
    from i2i_unlearn.support.table import table

    request = read_request(requests / f"{id_}.yaml")
    config = SplitConfig.from_params(load_params(params))
    selected = selected_counts(request, images, config)
    counts = planned_counts(request, images, requests, config)
    foresight = what_can_be_decided(counts, how_judged(params, policies))
    if json:
        by_label = [{"label": label, "train": train, "holdout": held_out} for label, train, held_out in selected]
        can = foresight and as_facts(foresight)
        print_json({**request.model_dump(), "selected": by_label, "images": counts, "can_be_decided": can})
        return
    typer.echo(request_bytes(request).decode())
    typer.echo(table(("label", "train", "holdout"), selected))
    others = [other for other in config.requests if id_ in config.requests and other != id_]
    tell_foresight(foresight, counts, others)
