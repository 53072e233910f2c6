"""Stage `evidence`: a signed folder that says what was done for the requests, to be verified with one trusted key.

    evidence.json          in-toto statement in a DSSE envelope: everything below by its sha256, and what it means
    metrics.json, verdicts.json, unlearn_summary.json, manifest.parquet     as the stages wrote them
    policies/NAME.json     the policies that judged
    public.pem             the signer's key, for convenience; on its own it proves nothing
    model.sig              signature of the weights, OpenSSF model-signing format (ECDSA keys)
    model/                 the weights, if requested

The report and its pictures are left out: they may show images.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i_unlearn.evaluation.evaluated_model import FINDINGS, Evaluated, read_evaluated
from i2i_unlearn.evaluation.findings import read_findings
from i2i_unlearn.evidence import contents, envelope, gather, recompute, weights_signature
from i2i_unlearn.evidence.gather import Inputs, Origin
from i2i_unlearn.evidence.keys import PUBLIC, PrivateKey, load_private_key, read_passphrase
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError

__all__ = ["Inputs", "Origin", "Signer", "run"]

NONE = "no_evidence.txt"
"""The only file in the folder if no evidence was made."""

Facts = dict[str, float | str]


@dataclass(frozen=True, kw_only=True)
class Signer:
    """Who signs."""

    key: str | Path
    """Private key (PEM)."""
    passphrase_file: str | Path | None = None
    optional: bool = False
    """A missing key is not an error: the folder then holds a file that says so."""


def run(inputs: Inputs, origin: Origin, signer: Signer, out: str | Path, *, with_weights: bool = False) -> Facts:
    """Write the bundle `out`, whole or not at all.

    Returns:
        evidence (the folder), gate, model_sha256, key_id, weights_signed (yes or no) and message.

    Raises:
        UserError: the parts do not belong together, `out` is not empty, the key cannot be used, or the version was
            registered from something else.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is not empty and is kept; give another folder with --out")
    if signer.optional and not Path(signer.key).is_file():
        return _none(out, signer.key)
    key = load_private_key(signer.key, read_passphrase(signer.passphrase_file))
    manifest = Path(inputs.splits) / contents.MANIFEST
    found = read_evaluated(Path(inputs.evaluation), Path(inputs.unlearned), Path(inputs.teacher), manifest)
    verdicts = read_findings(found.evaluation / FINDINGS[1])
    _check_policies(found, verdicts, inputs.policies)
    registered = None
    if origin.version:
        registered = gather.registered(origin.model_name, origin.version, {**found.identity(), **found.judged()})
    model = found.unlearned / "model"
    model_files = contents.describe_all(model)
    with files.atomic_folder(out) as aside:
        _copy(found, {name: inputs.policies[name] for name in verdicts["verdicts"]}, key, aside)
        said = gather.predicate(
            found,
            verdicts,
            inputs,
            origin,
            aside,
            model_files=model_files,
            registered=registered,
            weights_inside=with_weights,
        )
        if with_weights:
            shutil.copytree(model, aside / envelope.MODEL)
        (aside / contents.STATEMENT).write_bytes(envelope.sign(envelope.write_statement(said), key))
    if origin.version:
        gather.note_in_registry(origin.model_name, origin.version, files.digest_file(out / contents.STATEMENT))
    outcome = f"gate {said.gate.outcome}, signed by {key.public.id[:16]}"
    why_not = weights_signature.why_not(key.public, model)
    return {
        "evidence": str(out),
        "gate": said.gate.outcome,
        "model_sha256": said.model.sha256,
        "key_id": key.public.id,
        "weights_signed": f"no ({why_not})" if why_not else "yes",
        "message": f"evidence on {', '.join(found.requests)}: {outcome}",
    }


def _none(out: Path, key: str | Path) -> Facts:
    message = f"no evidence was made: there is no key {key} to sign it with"
    with files.atomic_folder(out) as aside:
        (aside / NONE).write_text(f"{message}\n")
    return {"evidence": "none", "message": message}


def _check_policies(found: Evaluated, verdicts: Mapping[str, Any], policies: Mapping[str, Mapping[str, Any]]) -> None:
    """The given policies must be those that judged: the verifier judges again."""
    for name, verdict in verdicts["verdicts"].items():
        if name not in policies:
            raise UserError(f"policy {name} judged this evaluation and was not found; give its folder with --policies")
        now = recompute.judged(found.metrics, name, policies[name])
        if recompute.decisions(now) != recompute.decisions(verdict):
            raise UserError(
                f"policy {name} has changed since the evaluation (it said {verdict['outcome']}, now {now['outcome']});"
                " rerun `i2i-unlearn evaluate`, or pass the original policies with --policies"
            )


def _copy(found: Evaluated, policies: Mapping[str, Any], key: PrivateKey, aside: Path) -> None:
    for name in FINDINGS:
        shutil.copyfile(found.evaluation / name, aside / name)
    shutil.copyfile(found.unlearned / "summary.json", aside / contents.SUMMARY)
    shutil.copyfile(found.manifest_path, aside / contents.MANIFEST)
    for name, policy in policies.items():
        files.write_json(aside / contents.policy_path(name), policy)
    (aside / PUBLIC).write_bytes(key.public.pem())
    if not weights_signature.why_not(key.public, found.unlearned / "model"):
        weights_signature.sign(found.unlearned / "model", aside / contents.WEIGHTS_SIGNATURE, key)
