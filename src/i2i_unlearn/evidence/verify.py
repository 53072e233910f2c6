"""Verify a bundle, offline, with a key from another source; every broken link is named, not only the first."""

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from i2i_unlearn.evidence import contents, envelope, limits, recompute, weights_signature
from i2i_unlearn.evidence.keys import PUBLIC, PublicKey, load_public_key
from i2i_unlearn.evidence.predicate import Predicate
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError


@dataclass(frozen=True)
class Broken:
    """One thing that does not hold."""

    link: str
    """signature, statement, files, weights, measurements ..."""
    why: str
    of_bundle: bool = True
    """Otherwise it is about the model that was given, which may be another one than the evidence is about."""


@dataclass
class Report:
    """What a check found."""

    key_id: str
    model: Path | None = None
    """The model that was given."""
    broken: list[Broken] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    """Links that were checked and hold."""
    not_shown: list[str] = field(default_factory=list)
    said: Predicate | None = None
    """What the evidence says; None if it cannot be read."""

    @property
    def is_sound(self) -> bool:
        """Nothing is broken."""
        return not self.broken

    @property
    def bundle_is_sound(self) -> bool:
        """Nothing in the bundle is broken, whatever model was given."""
        return not any(broken.of_bundle for broken in self.broken)

    @property
    def model_fits(self) -> bool | None:
        """Whether the model that was given is the one that the evidence is about; None where none was given."""
        return None if self.model is None else all(broken.of_bundle for broken in self.broken)

    def add(self, link: str, reasons: Iterable[str], *, of_bundle: bool = True) -> None:
        """Add the outcome of one check; without reasons it holds."""
        found = [Broken(link, reason, of_bundle) for reason in reasons]
        self.broken += found
        if not found:
            self.held.append(link)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "sound": self.is_sound,
            "bundle_sound": self.bundle_is_sound,
            "model_fits": self.model_fits,
            "key_id": self.key_id,
            "broken": [{"link": broken.link, "why": broken.why} for broken in self.broken],
            "held": self.held,
            "not_shown": self.not_shown,
            "gate": self.said.gate.outcome if self.said else None,
            "model_sha256": self.said.model.sha256 if self.said else None,
        }


def statement_file(bundle: Path) -> Path:
    """Where the statement of a bundle is.

    Raises:
        UserError: `bundle` is not a bundle.
    """
    if not bundle.is_dir():
        raise UserError(f"{bundle}: no such folder; give the one that `i2i-unlearn evidence create` wrote")
    path = bundle / contents.STATEMENT
    if path.is_symlink() or not path.is_file():
        raise UserError(
            f"{bundle}: has no {contents.STATEMENT}, so it is not evidence, or only a part of it; copy the whole folder"
        )
    return path


def verify(bundle: str | Path, key: str | Path | None, model: str | Path | None = None) -> Report:
    """Check everything that can be checked with `key`, the signer's public key from another channel than the bundle.

    Raises:
        UserError: there is no bundle, key or model directory, or another version of this program made the bundle.
    """
    bundle = Path(bundle)
    path = statement_file(bundle)
    if key is None:
        raise UserError(
            f"no trusted key: the {PUBLIC} inside a bundle proves nothing, anybody can put one there; give the key "
            "received from the signer over another channel with --key"
        )
    key = Path(key)
    if bundle.resolve() in key.resolve().parents:
        raise UserError(
            f"{key}: is inside the bundle and proves nothing, anybody can put one there; give the key received from "
            "the signer over another channel"
        )
    trusted = load_public_key(key)
    model = None if model is None else Path(model)
    if model is not None and not model.is_dir():
        raise UserError(f"{model}: no such folder; give the model directory (config.json and model.safetensors)")
    report = Report(trusted.id, model)
    statement = _read(path, trusted, report)
    if statement is not None:
        report.said = statement.predicate
        _check(bundle, key, trusted, model, statement, report)
    return report


def _read(path: Path, trusted: PublicKey, report: Report) -> envelope.Statement | None:
    try:
        opened = envelope.open_envelope(path.read_bytes())
    except envelope.Fault as fault:
        report.add("envelope", [f"{contents.STATEMENT} {fault}"])
        return None
    report.add("envelope", [])
    report.add("signature", envelope.signature_faults(opened, trusted))
    try:
        statement = envelope.read_statement(opened.payload)
    except envelope.Fault as fault:
        report.add("statement", [f"what is signed {fault}"])
        return None
    report.add("statement", [])
    return statement


def _check(
    bundle: Path, key: Path, trusted: PublicKey, model: Path | None, statement: envelope.Statement, report: Report
) -> None:
    said = statement.predicate
    carried = bundle / envelope.MODEL if said.model.inside else None
    changed = dict(contents.differences(bundle, said.files, leave_out=envelope.MODEL if carried else ""))
    changed.pop(contents.STATEMENT, None)
    report.add("subject", recompute.check_subject(statement))
    report.add("files", (f"{name}: {why}" for name, why in changed.items()))
    report.add("public key", _guarded(partial(_own_key, bundle, trusted), changed, PUBLIC))
    for link, check, needs in (
        ("measurements", recompute.check_metrics, (contents.METRICS,)),
        ("gate", recompute.check_gate, (contents.METRICS, contents.VERDICTS, *_policies(said))),
        ("split manifest", recompute.check_manifest, (contents.MANIFEST,)),
        ("training", recompute.check_training, (contents.SUMMARY,)),
    ):
        report.add(link, _guarded(partial(check, bundle, said), changed, *needs))
    report.add("deadline", recompute.check_times(said))
    signed = any(file.name == contents.WEIGHTS_SIGNATURE for file in said.files)
    signature = bundle / contents.WEIGHTS_SIGNATURE if signed and contents.WEIGHTS_SIGNATURE not in changed else None
    given = [folder for folder in (carried, model) if folder is not None]
    for folder in given:
        _check_weights(folder, said, signature, key, report, of_bundle=folder != model)
    report.not_shown = limits.not_shown(said, weights_at_hand=bool(given), weights_signed=signed)


def _policies(said: Predicate) -> list[str]:
    return [contents.policy_path(name) for name in said.gate.verdicts]


def _guarded(check: Callable[[], Iterable[str]], changed: Container[str], *needs: str) -> list[str]:
    """What a check finds; it cannot run if a file it needs was changed, which is reported separately."""
    unusable = [name for name in needs if name in changed]
    if unusable:
        return [f"cannot be checked, as {', '.join(unusable)} was changed"]
    try:
        return list(check())
    except UserError as error:
        return [str(error)]
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        return [f"one of its files is not valid ({type(error).__name__}: {error})"]


def _own_key(bundle: Path, trusted: PublicKey) -> Iterator[str]:
    if load_public_key(bundle / PUBLIC).id != trusted.id:
        yield f"{PUBLIC} in the bundle is not the trusted key"


def _check_weights(
    folder: Path, said: Predicate, signature: Path | None, key: Path, report: Report, *, of_bundle: bool
) -> None:
    reasons = [f"{name}: {why}" for name, why in contents.differences(folder, said.model.files)]
    if not reasons and files.digest_folder(folder) != said.model.sha256:
        reasons.append("the digest of the folder is not the one that the evidence names")
    report.add(f"weights in {folder}", reasons, of_bundle=of_bundle)
    if signature is not None and not reasons:
        fault = weights_signature.fault(folder, signature, key)
        faults = [f"{contents.WEIGHTS_SIGNATURE}: {fault}"] if fault else []
        report.add(f"signature of the weights in {folder}", faults)
