"""Stage `evidence`: a signed folder that says what was done for the requests, for somebody who trusts only a key.

    evidence.json          in-toto statement in a DSSE envelope: everything below by its sha256, and what it means
    metrics.json, verdicts.json, unlearn_summary.json, manifest.parquet     as the stages wrote them
    policies/NAME.json     the policies that judged
    public.pem             the signer's key, for convenience: it proves nothing by itself
    model.sig              signature of the weights, OpenSSF model-signing format (ECDSA keys)
    model/                 the weights, if wanted

Report and pictures are not among them: they may show images.
"""

import datetime
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from i2i_unlearn.evaluation.evaluated_model import FINDINGS, Evaluated, read_evaluated
from i2i_unlearn.evaluation.findings_ import read_findings
from i2i_unlearn.evidence import contents, envelope, gather, recompute, registry, weights
from i2i_unlearn.evidence.keys import PUBLIC, PrivateKey, load_private_key, read_passphrase
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError

NONE = "no_evidence.txt"
"""All that is in the folder where none was made."""

Facts = dict[str, float | str]


def run(
    evaluation: str | Path,
    unlearned: str | Path,
    teacher: str | Path,
    splits: str | Path,
    requests: str | Path,
    out: str | Path,
    *,
    key: str | Path,
    passphrase_file: str | Path | None = None,
    optional: bool = False,
    policies: Mapping[str, Mapping[str, Any]],
    params: Mapping[str, Any],
    image: str = "",
    repository: str | Path = ".",
    model_name: str = "",
    version: str = "",
    finished: datetime.date | None = None,
    with_weights: bool = False,
) -> Facts:
    """Write the bundle `out`, whole or not at all.

    `teacher` is a model directory, `requests` the folder of requests, the others are output folders of their stages.
    `policies` are the contents of the policy files, `params` that of params.yaml, `version` the number of the version
    of `model_name` that was registered (empty: MLflow is not asked), `image` the container image, `finished` the
    day on which the requests were carried out, where that is not now. With `optional`, a
    missing key is no error: the folder then holds a file that says so.

    Returns:
        evidence (the folder), gate, model_sha256, key_id, weights_signed (yes or no) and message.

    Raises:
        UserError: the parts do not belong together, `out` holds something, the key cannot be used, or the version is of
            something else.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: holds something already and is kept; give another folder with --out")
    if optional and not Path(key).is_file():
        return _none(out, key)
    signer = load_private_key(key, read_passphrase(passphrase_file))
    found = read_evaluated(Path(evaluation), Path(unlearned), Path(teacher), Path(splits) / contents.MANIFEST)
    verdicts = read_findings(found.evaluation / FINDINGS[1])
    _check_policies(found, verdicts, policies)
    registered = None
    if version:
        registered = registry.facts(model_name, version, {**found.identity(), **found.judged()})
    model = found.unlearned / "model"
    model_files = contents.describe_all(model)
    with files.atomic_folder(out) as aside:
        _copy(found, {name: policies[name] for name in verdicts["verdicts"]}, signer, aside)
        bundle_files = contents.describe_all(aside)
        digests = {file.name: file.sha256 for file in bundle_files}
        said = gather.predicate(
            found,
            model_files=model_files,
            bundle_files=bundle_files,
            policies={name: digests[contents.policy_path(name)] for name in verdicts["verdicts"]},
            verdicts=verdicts,
            requests=Path(requests),
            params=params,
            image=image,
            repository=Path(repository),
            registered=registered,
            weights_inside=with_weights,
            now=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
            finished=finished,
        )
        if with_weights:
            shutil.copytree(model, aside / envelope.MODEL)
        (aside / contents.STATEMENT).write_bytes(envelope.sign(envelope.write_statement(said), signer))
    if version:
        registry.note(model_name, version, files.digest_file(out / contents.STATEMENT))
    outcome = f"gate {said.gate.outcome}, signed by {signer.public.id[:16]}"
    return {
        "evidence": str(out),
        "gate": said.gate.outcome,
        "model_sha256": said.model.sha256,
        "key_id": signer.public.id,
        "weights_signed": "yes" if weights.can_sign(signer.public) else "no (the format knows ECDSA keys only)",
        "message": f"evidence on {', '.join(found.requests)}: {outcome}",
    }


def _none(out: Path, key: str | Path) -> Facts:
    message = f"no evidence was made: there is no key {key} to sign it"
    with files.atomic_folder(out) as aside:
        (aside / NONE).write_text(f"{message}\n")
    return {"evidence": "none", "message": message}


def _check_policies(found: Evaluated, verdicts: Mapping[str, Any], policies: Mapping[str, Mapping[str, Any]]) -> None:
    """The policies at hand must be those that judged: whoever checks the evidence judges again."""
    for name, verdict in verdicts["verdicts"].items():
        if name not in policies:
            raise UserError(f"policy {name} judged this evaluation and is not at hand; give its folder with --policies")
        now = recompute.judged(found.metrics, name, policies[name])
        if recompute.decisions(now) != recompute.decisions(verdict):
            raise UserError(
                f"policy {name} is not as it was when it judged (it said {verdict['outcome']}, now {now['outcome']});"
                " run `i2i-unlearn evaluate` again, or give the folder of then with --policies"
            )


def _copy(found: Evaluated, policies: Mapping[str, Any], signer: PrivateKey, aside: Path) -> None:
    for name in FINDINGS:
        shutil.copyfile(found.evaluation / name, aside / name)
    shutil.copyfile(found.unlearned / "summary.json", aside / contents.SUMMARY)
    shutil.copyfile(found.manifest_path, aside / contents.MANIFEST)
    for name, policy in policies.items():
        files.write_json(aside / contents.policy_path(name), policy)
    (aside / PUBLIC).write_bytes(signer.public.pem())
    if weights.can_sign(signer.public):
        weights.sign(found.unlearned / "model", aside / contents.WEIGHTS_SIGNATURE, signer)
