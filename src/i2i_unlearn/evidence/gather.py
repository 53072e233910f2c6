"""The predicate of an evaluated model: what the stages wrote, the requests' dates, where code and data came from."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from i2i_unlearn import __version__
from i2i_unlearn.config.base import SHARED_KEYS, whole_numbers
from i2i_unlearn.config.sections import UnlearnConfig
from i2i_unlearn.data.request import ForgetRequest, one_month_after, read_named_requests
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.evaluation.evaluated_model import Evaluated
from i2i_unlearn.evaluation.findings import is_reference, judged_operators
from i2i_unlearn.evidence import contents
from i2i_unlearn.evidence.predicate import File, Predicate
from i2i_unlearn.support import git
from i2i_unlearn.support.errors import UserError

if TYPE_CHECKING:
    from i2i_unlearn.registry import tracking

_SCORE = ("value", "low", "high", "num_images")
_AUDIT = ("status", "why", "question")
_LINE = ("name", "measure", "bound", "value", "low", "high", "outcome", "by_rehearsal", "why")
_LEFT_OUT = {
    "split": {"proxy_labels"},
    "snapshot": {"source"},
    "unlearn": {"prototypes", "checkpoint_uri"},
    "reference": {"models"},
}
"""Paths, and names of labels, which may identify persons."""
_SECTIONS = ("snapshot", "split", "unlearn", "reference", "evaluate")
EVIDENCE_TAG = "evidence_sha256"
"""Tag of a registered version: digest of the evidence.json of its first evidence; of further ones with _2, _3 ..."""
_MOST_EXACT = 2**53
"""Not every JSON reader keeps larger whole numbers exact."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What evidence is made of."""

    evaluation: str | Path
    """Output folder of its stage, as are `unlearned` and `splits`."""
    unlearned: str | Path
    teacher: str | Path
    """Model directory."""
    splits: str | Path
    requests: str | Path
    """Folder of the requests."""
    policies: Mapping[str, Mapping[str, Any]]
    """Contents of the policy files, by name."""
    params: Mapping[str, Any]
    """Content of params.yaml."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where and when it was made; what is not known is empty."""

    image: str = ""
    """Container image."""
    repository: str | Path = "."
    """Where git and data.dvc are asked."""
    model_name: str = ""
    version: str = ""
    """Number of the registered version of `model_name`; empty = MLflow is not asked."""
    finished: datetime.date | None = None
    both_kept_by: str = ""
    """Who may keep the model before next to the new one."""
    """Day on which the requests were carried out; None = now."""


def predicate(
    found: Evaluated,
    verdicts: Mapping[str, Any],
    inputs: Inputs,
    origin: Origin,
    bundle: Path,
    *,
    model_files: Sequence[File],
    registered: Mapping[str, Any] | None,
    weights_inside: bool,
) -> Predicate:
    """Assemble it. `verdicts` is the content of verdicts.json, `bundle` the folder with all files but the weights.

    Raises:
        UserError: a request is missing, `params` are not those of the training, or `finished` cannot be.
    """
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    active, _ = read_named_requests(inputs.requests, found.requests, ())
    finished_at = now if origin.finished is None else _told(origin.finished, now, active)
    bundle_files = contents.describe_all(bundle)
    digests = {file.name: file.sha256 for file in bundle_files}
    metrics = found.metrics
    content = {
        "schema_version": 1,
        "created_at": now,
        "created_by": f"i2i-unlearn {__version__}",
        "finished_at": finished_at,
        "finished_from": "signing" if origin.finished is None else "told",
        "requests": [time_of(request, finished_at.date()) for request in active],
        "model": {
            "sha256": found.model_sha256,
            "files": [file.model_dump() for file in model_files],
            "inside": weights_inside,
        },
        "teacher_sha256": found.teacher_sha256,
        "both_kept_by": origin.both_kept_by or None,
        "references_sha256": references_of(metrics),
        "manifest": {
            "sha256": found.manifest_sha256,
            "images_sha256": read_manifest(found.manifest_path).image_digest,
            "requests": found.requests,
            "erased": found.erased,
            "roles": dict(found.role_counts),
        },
        "parameters": _parameters(inputs.params, found.summary),
        "unlearning": {key: _exact(value) for key, value in found.summary.items()},
        "measured": measured(metrics),
        "gate": gate_of(verdicts, {name: digests[contents.policy_path(name)] for name in verdicts["verdicts"]}),
        "image": origin.image or None,
        "code_revision": git.git_commit(origin.repository) or None,
        "data_revision": git.data_md5(origin.repository) or None,
        "registered": registered,
        "files": [file.model_dump() for file in bundle_files],
    }
    try:
        return Predicate.model_validate(content)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise UserError(
            f"{found.evaluation}: evidence cannot be made of it ({'; '.join(faults)}); run `i2i-unlearn evaluate` again"
        ) from None


def references_of(metrics: Mapping[str, Any]) -> list[str]:
    """Digests of the references that were measured, in the order of metrics.json."""
    return [digest for name, digest in metrics["models"].items() if is_reference(name)]


def _told(day: datetime.date, now: datetime.datetime, requests: Sequence[ForgetRequest]) -> datetime.datetime:
    first = max(request.received for request in requests)
    if not first <= day <= now.date():
        raise UserError(
            f"--finished {day}: must be between {first}, receipt of the last request, and today (UTC); give such a day"
        )
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC)


def time_of(request: ForgetRequest, finished: datetime.date) -> dict[str, Any]:
    """One request against its deadline: a `RequestTime`."""
    paused_days = request.paused_days(finished)
    due = request.last_day(finished)
    return {
        "id": request.id,
        "received": request.received,
        "due": due,
        "extended": request.due > one_month_after(request.received),
        "paused_days": paused_days,
        **used(request.received, due, finished),
    }


def used(received: datetime.date, due: datetime.date, finished: datetime.date) -> dict[str, Any]:
    """Time used against the deadline."""
    return {
        "days_allowed": (due - received).days,
        "days_used": (finished - received).days,
        "in_time": finished <= due,
    }


def _parameters(params: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the stages that the evidence is about.

    Raises:
        UserError: the training had other settings.
    """
    told = summary.get("config_digest")
    if told is not None and _unlearn_config(params).digest() != told:
        raise UserError(
            "params.yaml, section unlearn: differs from what the model was unlearned with; give that run's file with "
            "--params (`git show COMMIT:params.yaml`)"
        )
    kept = {key: value for key, value in params.items() if key in SHARED_KEYS and key != "checkpoint_uri"}
    for name in _SECTIONS:
        if name in params:
            hidden = {*_LEFT_OUT.get(name, ()), "checkpoint_uri"}
            kept[name] = {key: value for key, value in params[name].items() if key not in hidden}
    exact: dict[str, Any] = _exact(whole_numbers(kept))
    return exact


def _unlearn_config(params: Mapping[str, Any]) -> UnlearnConfig:
    """Settings that came through a pipeline hold the shared keys in each section."""
    section = params.get("unlearn", {})
    return UnlearnConfig(**section) if "seed" in section else UnlearnConfig.from_params(params)


def _exact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _exact(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(below) for below in value]
    return str(value) if type(value) is int and abs(value) > _MOST_EXACT else value


def measured(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What the predicate says of metrics.json."""
    tables = {
        table: {
            who: {set_name: _scores(scores) for set_name, scores in sets.items()}
            for who, sets in metrics[table].items()
        }
        for table in ("scores", "differences", "ratios")
    }
    audits = {
        name: {
            **{key: audit[key] for key in _AUDIT},
            **{
                table: {who: _scores(scores) for who, scores in audit[table].items()}
                for table in ("models", "differences")
            },
            **_worst(audit["facts"].get("worst_images", {})),
        }
        for name, audit in metrics["audits"].items()
    }
    return {
        "operator": metrics["operator"],
        "operators": judged_operators(metrics),
        "sets": metrics["sets"],
        **tables,
        "audits": audits,
    }


def _worst(found: Mapping[str, Any]) -> dict[str, Any]:
    """The worst images of an audit, by code; none where it names none."""
    codes, scores = (found.get(key, []) for key in ("codes", "scores"))
    return {
        "worst_by": found.get("by", ""),
        "worst_images": [{"code": code, "score": score} for code, score in zip(codes, scores, strict=True)],
    }


def _scores(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {metric: {key: score.get(key) for key in _SCORE} for metric, score in scores.items()}


def gate_of(verdicts: Mapping[str, Any], policies: Mapping[str, str]) -> dict[str, Any]:
    """What the predicate says of verdicts.json. `policies` holds the digest of each policy's file."""
    return {
        "deciding": verdicts["deciding"],
        "outcome": verdicts["verdicts"][verdicts["deciding"]]["outcome"],
        "verdicts": {
            name: {
                "policy_sha256": policies[name],
                "outcome": verdict["outcome"],
                "lines": [{key: line[key] for key in _LINE} for line in verdict["lines"]],
            }
            for name, verdict in verdicts["verdicts"].items()
        },
    }


# --- the MLflow registry ---


def note_in_registry(model_name: str, number: str, sha256: str) -> None:
    """Tag the version with its evidence; earlier evidence keeps its tag.

    Raises:
        UserError: MLflow cannot be reached.
    """
    from i2i_unlearn.registry import tracking

    with tracking.connect() as server:
        version = server.version(model_name, number)
        keys = [EVIDENCE_TAG, *(f"{EVIDENCE_TAG}_{count}" for count in range(2, len(version.tags) + 2))]
        if sha256 not in (version.tags.get(key) for key in keys):
            server.tag(version, {next(key for key in keys if key not in version.tags): sha256})


def _further_evaluation(
    server: "tracking.Server", version: "tracking.Version", wanted: Mapping[str, str]
) -> Mapping[str, str]:
    """Tags of the run that evaluated a promoted version again with these findings; none if there is no such run."""
    from i2i_unlearn.registry import tracking

    for run_id in tracking.names(version.tags.get(tracking.FURTHER, "")):
        tags = server.client.get_run(run_id).data.tags
        if tags.get("evaluation_sha256") == wanted.get("evaluation_sha256"):
            return {key: tags[key] for key in wanted if key in tags}
    return {}


def registered(model_name: str, number: str, wanted: Mapping[str, str]) -> dict[str, object]:
    """The version's facts; its tags must be `wanted` (digests of what the evidence is made of).

    Raises:
        UserError: there is no such version, it was registered from something else, or MLflow cannot be reached.
    """
    from i2i_unlearn.registry import tracking

    with tracking.connect() as server:
        version = server.version(model_name, number)
        tags = {**version.tags, **_further_evaluation(server, version, wanted)}
    for key, value in wanted.items():
        found = tags.get(key, "")
        if found != value:
            raise UserError(
                f"{model_name} version {number}: its {key} is {found[:12] or 'unknown'}, the given folders have"
                f" {value[:12]}; name the version that was registered from them"
            )
    return {
        "model_name": version.model_name,
        "version": version.number,
        "run_id": version.tags.get("evaluation_run_id", ""),
        "aliases": sorted(version.aliases),
        "teacher_version": version.tags.get("teacher_version"),
        "accepted_undecided": version.tags.get(tracking.ACCEPTED),
    }
