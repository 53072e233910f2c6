"""What stages wrote about a model: the summary of one stage, and an evaluated model whose parts belong together."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.evaluation.findings import read_findings
from i2i_unlearn.models.directory import read_config
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError

FINDINGS = ("metrics.json", "verdicts.json")
OWN_KEYS = {
    "unlearn": ("objective", "teacher_sha256", "manifest_sha256"),
    "reference": ("kind",),
    "snapshot": ("source", "source_sha256"),
    "split": ("manifest_sha256", "requests"),
    "sweep": ("forgetting_most", "as_unseen"),
}
"""What a stage always writes, as text, and no other stage all of."""


def read_summary(folder: Path, stage: str) -> dict[str, Any]:
    """The summary of an output folder of `stage`.

    Raises:
        UserError: there is none, or another stage made the folder.
    """
    path = folder / "summary.json"
    summary = files.read_json(path)
    found = summary if isinstance(summary, dict) else {}
    lacking = [key for key in OWN_KEYS[stage] if not isinstance(found.get(key), str)]
    if lacking:
        raise UserError(
            f"{folder}: not made by `i2i-unlearn {stage}` (its summary.json has no {', '.join(lacking)}); give the"
            " folder that this stage wrote"
        )
    return found


@dataclass(frozen=True)
class Evaluated:
    """All that is registered, read and checked against each other."""

    evaluation: Path
    unlearned: Path
    manifest_path: Path
    metrics: Mapping[str, Any]
    verdict: Mapping[str, Any]
    sentence: str
    summary: Mapping[str, Any]
    model_sha256: str
    teacher_sha256: str
    manifest_sha256: str
    evaluation_sha256: str
    requests: tuple[str, ...]
    erased: tuple[str, ...]
    role_counts: Mapping[str, int]

    def identity(self) -> dict[str, str]:
        """Tags that make a version what it is."""
        return {
            "kind": "unlearned",
            "model_sha256": self.model_sha256,
            "unlearned_sha256": self.model_sha256,
            "teacher_sha256": self.teacher_sha256,
            "requests": ",".join(self.requests),
            "erased": ",".join(self.erased),
        }

    def judged(self) -> dict[str, str]:
        """Tags that tell what the newest evaluation found."""
        return {
            "gate": self.verdict["outcome"],
            "gate_policy": self.verdict["policy"],
            "evaluation_sha256": self.evaluation_sha256,
            "manifest_sha256": self.manifest_sha256,
        }


def read_evaluated(evaluation: Path, unlearned: Path, teacher: Path, manifest_path: Path) -> Evaluated:
    """Read what the stages wrote.

    Raises:
        UserError: something is missing, was made by another stage, or from other inputs than the rest.
    """
    metrics, verdict, sentence = _read_findings(evaluation)
    summary = read_summary(unlearned, "unlearn")
    manifest = read_manifest(manifest_path)
    found = Evaluated(
        evaluation=evaluation,
        unlearned=unlearned,
        manifest_path=manifest_path,
        metrics=metrics,
        verdict=verdict,
        sentence=sentence,
        summary=summary,
        model_sha256=_digest_model(unlearned / "model"),
        teacher_sha256=_digest_model(teacher),
        manifest_sha256=files.digest_file(manifest_path),
        evaluation_sha256=digest_evaluation(evaluation),
        requests=manifest.requests,
        erased=manifest.erased,
        role_counts={str(role): int(count) for role, count in manifest.rows["role"].value_counts().items()},
    )
    _check_belongs(found)
    return found


def _read_findings(evaluation: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Content of metrics.json, the deciding policy's verdict, and the sentence on the others."""
    metrics, verdicts = (read_findings(evaluation / name) for name in FINDINGS)
    for keys in (("models", "unlearned"), ("models", "teacher"), ("manifest_sha256",)):
        _text_at(metrics, keys, evaluation / FINDINGS[0])
    deciding = ("verdicts", _text_at(verdicts, ("deciding",), evaluation / FINDINGS[1]))
    for key in ("policy", "outcome"):
        _text_at(verdicts, (*deciding, key), evaluation / FINDINGS[1])
    return metrics, verdicts["verdicts"][deciding[1]], verdicts.get("sentence") or ""


def _text_at(content: Any, keys: tuple[str, ...], path: Path) -> str:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    if not isinstance(content, str):
        raise UserError(f"{path}: has no {'.'.join(keys)}; run `i2i-unlearn evaluate` again")
    return content


def digest_evaluation(evaluation: Path) -> str:
    """Digest of what an evaluation found: metrics.json and verdicts.json, byte for byte.

    Raises:
        UserError: one of them is missing.
    """
    paths = [evaluation / name for name in FINDINGS]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such file; run `i2i-unlearn evaluate`")
    return digest({path.name: files.digest_file(path) for path in paths})


def _digest_model(folder: Path) -> str:
    read_config(folder)
    return files.digest_folder(folder)


def _check_belongs(found: Evaluated) -> None:
    claims = (
        ("evaluate", "the unlearned model", found.metrics["models"]["unlearned"], found.model_sha256),
        ("evaluate", "the teacher", found.metrics["models"]["teacher"], found.teacher_sha256),
        ("evaluate", "the split manifest", found.metrics["manifest_sha256"], found.manifest_sha256),
        ("unlearn", "the teacher", found.summary["teacher_sha256"], found.teacher_sha256),
        ("unlearn", "the split manifest", found.summary["manifest_sha256"], found.manifest_sha256),
    )
    for stage, what, claimed, actual in claims:
        if claimed != actual:
            raise UserError(
                f"{found.evaluation if stage == 'evaluate' else found.unlearned}: made with another version of {what} "
                f"({claimed[:12]}) than the one given ({actual[:12]}); run `i2i-unlearn {stage}` again"
            )


def digest(content: Mapping[str, str]) -> str:
    """One sha256 for some facts."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
