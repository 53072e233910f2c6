"""The signed statement: in-toto Statement v1 in a DSSE envelope, one signature.

A file that was changed anywhere, even outside the signed part, is refused: writing its content again must give the
same bytes.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from i2i_unlearn.evidence.contents import OTHER_LINE_ENDS
from i2i_unlearn.evidence.keys import PrivateKey, PublicKey
from i2i_unlearn.evidence.predicate import PREDICATE_TYPE, File, Predicate, version_of
from i2i_unlearn.support.errors import UserError

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MODEL = "model"
"""Name of the first subject, and of the folder that holds the weights."""


class Fault(Exception):  # noqa: N818  a finding of the check, not an error
    """The signed part cannot be used at all."""


@dataclass(frozen=True)
class Statement:
    """What was signed."""

    subject: tuple[dict[str, Any], ...]
    predicate: Predicate
    content: dict[str, Any]
    """As in the file."""


def directory_digest(model_files: Iterable[File]) -> str:
    """in-toto's `dirHash`: the h1 hash of Go modules, in hexadecimal digits."""
    lines = sorted((file.name, file.sha256) for file in model_files)
    return hashlib.sha256("".join(f"{sha256}  {name}\n" for name, sha256 in lines).encode()).hexdigest()


def subjects(predicate: Predicate) -> list[dict[str, Any]]:
    """The model directory as a whole, then each of its files."""
    of_files = [
        {"name": f"{MODEL}/{file.name}", "digest": {"sha256": file.sha256}}
        for file in sorted(predicate.model.files, key=lambda file: file.name)
    ]
    return [{"name": MODEL, "digest": {"dirHash": directory_digest(predicate.model.files)}}, *of_files]


def write_statement(predicate: Predicate) -> bytes:
    """The payload: equal predicates give equal bytes."""
    content = {
        "_type": STATEMENT_TYPE,
        "subject": subjects(predicate),
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate.model_dump(mode="json"),
    }
    _validate(content)
    return json.dumps(content, sort_keys=True, allow_nan=False, ensure_ascii=False).encode()


def read_statement(payload: bytes) -> Statement:
    """Read a payload.

    Raises:
        Fault: it is not evidence of this program, or does not match the schema (all faults are listed).
        UserError: another version of this program made it.
    """
    from google.protobuf.json_format import ParseError

    try:
        content = json.loads(payload)
        _validate(content)
    except (ValueError, TypeError, RecursionError, ParseError) as error:
        raise Fault(f"is not an in-toto statement ({_one_line(error)})") from None
    if (found := version_of(content["predicateType"])) is None:
        raise Fault(f"is not evidence of this program (predicateType {content['predicateType']!r})")
    if found != version_of(PREDICATE_TYPE):
        raise UserError(
            f"the evidence has version {found} of its format, this program reads {version_of(PREDICATE_TYPE)}; use the "
            "i2i-unlearn that wrote it"
        )
    try:
        predicate = Predicate.model_validate_json(json.dumps(content["predicate"]))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise Fault(f"does not match its schema ({'; '.join(faults)})") from None
    return Statement(tuple(content["subject"]), predicate, content)


def _validate(content: dict[str, Any]) -> None:
    """Raise what in-toto's library raises where `content` is not a statement."""
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.v1.statement import Statement as Checked
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    Checked.copy_from_pb(ParseDict(content, Message())).validate()


def sign(payload: bytes, key: PrivateKey) -> bytes:
    """The content of evidence.json."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner

    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(key.key, _as_verifier(key.public)))
    return _written(envelope)


def _written(envelope: "Envelope") -> bytes:
    return (json.dumps(envelope.to_dict(), indent=2, sort_keys=True) + "\n").encode()


def open_envelope(content: bytes) -> "Envelope":
    """Read evidence.json without looking at its signature.

    Raises:
        Fault: it is not an envelope, or was changed.
    """
    from securesystemslib.dsse import Envelope

    try:
        envelope = Envelope.from_dict(json.loads(content))
        again = _written(envelope)
    except Exception as error:  # the library's parser raises whatever a wrong type leads to
        raise Fault(f"is not a DSSE envelope ({_one_line(error)})") from None
    if envelope.payload_type != PAYLOAD_TYPE:
        raise Fault(f"does not hold an in-toto statement (payloadType {envelope.payload_type!r})")
    if again != content and again == content.replace(b"\r\n", b"\n"):
        raise Fault(OTHER_LINE_ENDS)
    if again != content:
        raise Fault("was changed outside the signed part")
    return envelope


def signature_faults(envelope: "Envelope", trusted: PublicKey) -> list[str]:
    """Why the signature is not valid; empty if it is and was made by the trusted key."""
    from securesystemslib.exceptions import VerificationError

    ids = list(envelope.signatures)
    if len(ids) != 1:
        return [f"there are {len(ids)} signatures, expected one"]
    if ids != [trusted.id]:
        return [f"made by the key {ids[0][:16]}, the trusted key is {trusted.id[:16]}"]
    try:
        envelope.verify([_as_verifier(trusted)], threshold=1)
    except VerificationError:
        return ["the signature does not match what is signed"]
    return []


def _as_verifier(key: PublicKey) -> Any:
    from securesystemslib.signer import SSlibKey

    return SSlibKey.from_crypto(key.key, keyid=key.id)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
