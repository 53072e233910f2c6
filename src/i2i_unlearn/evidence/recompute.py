"""What can be recomputed from a bundle's own files: does it match the evidence?

Each check yields one line per mismatch.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from i2i_unlearn.data.split.manifest import FORGET, read_manifest
from i2i_unlearn.evaluation.findings import read_findings
from i2i_unlearn.evaluation.gate import judge, parse_policy
from i2i_unlearn.evidence import contents
from i2i_unlearn.evidence.envelope import Statement, subjects
from i2i_unlearn.evidence.gather import gate_of, measured, references_of, used
from i2i_unlearn.evidence.predicate import Predicate, Verdict
from i2i_unlearn.support import files

_CODE = re.compile(r"[0-9a-f]{32}")


def judged(metrics: Mapping[str, Any], name: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    """What the gate says now, in the words of verdicts.json."""
    return judge(metrics, parse_policy(name, policy)).as_dict()


def decisions(verdict: Mapping[str, Any] | Verdict) -> list[tuple[Any, ...]]:
    """What a verdict decides, without the words around it, which another version of this program may change."""
    content = verdict.model_dump() if isinstance(verdict, Verdict) else verdict
    keys = ("name", "value", "low", "high", "bound", "outcome", "by_rehearsal")
    lines = [tuple(line[key] for key in keys) for line in content["lines"]]
    return [(content["outcome"],), *lines]


def check_subject(statement: Statement) -> Iterator[str]:
    """The statement is about the model that its predicate describes."""
    if list(statement.subject) != subjects(statement.predicate):
        yield "the subject is not the model that the evidence describes"


def check_metrics(bundle: Path, said: Predicate) -> Iterator[str]:
    """metrics.json is about these models and this split, and holds the numbers that the evidence names."""
    metrics = read_findings(bundle / contents.METRICS)
    models = metrics["models"]
    pairs = (
        ("the unlearned model", models.get("unlearned"), said.model.sha256),
        ("the teacher", models.get("teacher"), said.teacher_sha256),
        ("the split manifest", metrics["manifest_sha256"], said.manifest.sha256),
    )
    for what, found, wanted in pairs:
        if found != wanted:
            yield f"{what} that was measured ({_short(found)}) is not the one in the evidence ({_short(wanted)})"
    if references_of(metrics) != list(said.references_sha256):
        yield "the references that were measured are not those in the evidence"
    if said.measured != type(said.measured).model_validate(measured(metrics)):
        yield "the numbers in metrics.json are not those that the evidence names"


def check_gate(bundle: Path, said: Predicate) -> Iterator[str]:
    """The gate, applied to metrics.json with the policies in the bundle, decides as the evidence says."""
    metrics, verdicts = (read_findings(bundle / name) for name in (contents.METRICS, contents.VERDICTS))
    digests = {name: verdict.policy_sha256 for name, verdict in said.gate.verdicts.items()}
    if set(verdicts["verdicts"]) != set(digests):
        yield "verdicts.json has other policies than the evidence"
    elif type(said.gate).model_validate(gate_of(verdicts, digests)) != said.gate:
        yield "verdicts.json contradicts the evidence"
    for name, verdict in said.gate.verdicts.items():
        path = bundle / contents.policy_path(name)
        if files.digest_file(path) != verdict.policy_sha256:
            yield f"policy {name} is not the one that the evidence names"
            continue
        now = judged(metrics, name, files.read_json(path))
        if decisions(now) != decisions(verdict):
            yield f"policy {name}: the evidence says {verdict.outcome}, its numbers give {now['outcome']}" + (
                "" if now["outcome"] != verdict.outcome else ", by other lines"
            )


def check_manifest(bundle: Path, said: Predicate) -> Iterator[str]:
    """The manifest is the one that the evidence names, and identifies images by codes only."""
    path = bundle / contents.MANIFEST
    if files.digest_file(path) != said.manifest.sha256:
        yield "manifest.parquet is not the split manifest that the evidence names"
    manifest = read_manifest(path)
    roles = {str(role): int(count) for role, count in manifest.rows["role"].value_counts().items()}
    for what, found, wanted in (
        ("requests", manifest.requests, said.manifest.requests),
        ("earlier requests", manifest.erased, said.manifest.erased),
        ("numbers of images", roles, said.manifest.roles),
        ("images", manifest.image_digest, said.manifest.images_sha256),
    ):
        if found != wanted:
            yield f"the split manifest has other {what} than the evidence"
    if not manifest.rows["hmac_id"].map(lambda code: bool(_CODE.fullmatch(code))).all():
        yield "the split manifest identifies images by something other than codes"
    forgotten = set(manifest.of(FORGET)["hmac_id"])
    for name, audit in said.measured.audits.items():
        if not forgotten.issuperset(image.code for image in audit.worst_images):
            yield f"audit {name}: a worst image is not one that the split manifest lists as forgotten"


def check_training(bundle: Path, said: Predicate) -> Iterator[str]:
    """What the training said of itself is about this teacher and this split."""
    summary = files.read_json(bundle / contents.SUMMARY)
    for what, wanted in (("teacher", said.teacher_sha256), ("manifest", said.manifest.sha256)):
        if summary.get(f"{what}_sha256") != wanted:
            yield f"{contents.SUMMARY} names another {what} than the evidence"


def check_times(said: Predicate) -> Iterator[str]:
    """The days of each request, recounted."""
    finished = said.finished_at.date()
    if tuple(sorted(request.id for request in said.requests)) != said.manifest.requests:
        yield "the requests with dates are not those of the split"
    for request in said.requests:
        again = used(request.received, request.due, finished)
        for key, value in again.items():
            if getattr(request, key) != value:
                yield f"request {request.id}: {key} is {getattr(request, key)} in the evidence, the dates give {value}"


def _short(digest: str | None) -> str:
    return (digest or "none")[:12]
