"""Key pairs that sign evidence: PEM files, Ed25519 or ECDSA on P-256 (P-384 is read as well).

A passphrase comes from a file or from I2I_UNLEARN_KEY_PASSPHRASE, never from an argument, which other users of the
machine could see. The id of a key is the sha256 of its public half (DER), as openssl computes it.
"""

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from i2i_unlearn.support.errors import UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Algorithm = Literal["ecdsa", "ed25519"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
PRIVATE, PUBLIC = "private.pem", "public.pem"
PASSPHRASE_VARIABLE = "I2I_UNLEARN_KEY_PASSPHRASE"
_CURVES = ("secp256r1", "secp384r1")
NEEDED = ("cryptography", "securesystemslib", "in_toto_attestation", "model_signing", "OpenSSL")
"""What signing and verifying need besides the package itself."""


def require() -> None:
    """Say what to install if something is missing.

    Raises:
        UserError: a library of the extra `evidence` is not installed.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} not installed; run: pip install 'i2i-unlearn[evidence]'")


@dataclass(frozen=True)
class PublicKey:
    """The half of a key pair that anybody may have."""

    key: "EllipticCurvePublicKey | Ed25519PublicKey"
    algorithm: Algorithm
    id: str
    """sha256 of its DER form (SubjectPublicKeyInfo), 64 hexadecimal digits."""

    def pem(self) -> bytes:
        """Its file."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class PrivateKey:
    """The half that signs."""

    path: Path
    key: "EllipticCurvePrivateKey | Ed25519PrivateKey" = field(repr=False)
    passphrase: bytes | None = field(repr=False)
    public: PublicKey


def read_passphrase(file: str | Path | None) -> bytes | None:
    """The passphrase in `file`, else the one of the environment, else None. A trailing line end is not part of it.

    Raises:
        UserError: the file cannot be read, or the passphrase is empty.
    """
    if file:
        try:
            passphrase = Path(file).read_bytes()
        except OSError as error:
            raise UserError(f"{file}: the passphrase cannot be read ({error.strerror}); give a text file") from None
        passphrase, place = passphrase.removesuffix(b"\n").removesuffix(b"\r"), str(file)
    elif PASSPHRASE_VARIABLE in os.environ:
        passphrase, place = os.environ[PASSPHRASE_VARIABLE].encode(), PASSPHRASE_VARIABLE
    else:
        return None
    if not passphrase:
        raise UserError(f"{place}: the passphrase is empty; write one, or give none")
    return passphrase


def create_keys(folder: str | Path, algorithm: str, passphrase: bytes | None) -> dict[str, str]:
    """Write a new pair, private.pem (mode 600) and public.pem, both or neither.

    Returns:
        private_key, public_key (paths), algorithm, key_id, and protected (by a passphrase: yes or no).

    Raises:
        UserError: the algorithm is not known, or one of the files exists.
    """
    require()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if algorithm not in ALGORITHMS:
        raise UserError(f"--algorithm {algorithm!r} is not known; choose one of: {', '.join(ALGORITHMS)}")
    folder = Path(folder)
    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    key = ed25519.Ed25519PrivateKey.generate() if algorithm == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        protection = serialization.BestAvailableEncryption(passphrase)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    public = _named(key.public_key(), folder / PUBLIC)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _appearing(folder / PUBLIC, public.pem(), 0o644), _appearing(folder / PRIVATE, private, 0o600):
        pass
    return {
        "private_key": str(folder / PRIVATE),
        "public_key": str(folder / PUBLIC),
        "algorithm": algorithm,
        "key_id": public.id,
        "protected": "by a passphrase" if passphrase else "by its file mode (600) only",
    }


@contextmanager
def _appearing(path: Path, content: bytes, mode: int) -> Iterator[None]:
    """Create a file, whole or not at all; it is removed if what follows fails."""
    aside = path.with_name(f".{path.name}.new.{os.getpid()}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        os.link(aside, path)
    except FileExistsError:
        raise UserError(f"{path}: a key exists already and is kept; give another folder with --out") from None
    finally:
        aside.unlink(missing_ok=True)
    try:
        yield
    except BaseException:
        path.unlink()
        raise


def load_private_key(path: str | Path, passphrase: bytes | None) -> PrivateKey:
    """A key that can sign.

    Raises:
        UserError: it is missing, not a private key, of another kind, or the passphrase is wrong.
    """
    require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = Path(path)
    content = _read(path)
    if own := re.search(rb"-----BEGIN (?:ENCRYPTED )?(SIGSTORE|COSIGN|OPENSSH|PGP) PRIVATE KEY", content):
        program = {b"OPENSSH": "OpenSSH", b"PGP": "PGP"}.get(own[1], "cosign")
        raise UserError(
            f"{path}: is in {program}'s own format, which only {program} can use; create a pair with `i2i-unlearn keys "
            "create`, or give the key in PKCS #8 (PEM)"
        )
    if b"PRIVATE KEY-----" not in content:
        raise UserError(f"{path}: holds no private key; give the {PRIVATE} that `i2i-unlearn keys create` wrote")
    hint = f"set {PASSPHRASE_VARIABLE} or give --passphrase-file"
    if passphrase is None and b"ENCRYPTED" in content:
        raise UserError(f"{path}: the key is protected by a passphrase; {hint}")
    if passphrase is not None and b"ENCRYPTED" not in content:
        raise UserError(f"{path}: the key has no passphrase, but one was given; unset it, or give the right key")
    try:
        key = load_pem_private_key(content, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        what = "the passphrase is wrong, or the key is damaged" if passphrase else "the private key is damaged"
        raise UserError(f"{path}: {what}; {hint}" if passphrase else f"{path}: {what}; restore it") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise _wrong_kind(path, key)
    return PrivateKey(path, key, passphrase, _named(key.public_key(), path))


def load_public_key(path: str | Path) -> PublicKey:
    """A key that can check signatures.

    Raises:
        UserError: it is missing, not a public key, or of another kind.
    """
    require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    path = Path(path)
    content = _read(path)
    if b"PRIVATE KEY-----" in content:
        raise UserError(f"{path}: is a private key, which verifying does not need; give the public one ({PUBLIC})")
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise UserError(f"{path}: holds no public key in PEM form; give the signer's {PUBLIC}") from None
    return _named(key, path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such key; create a pair with `i2i-unlearn keys create`") from None
    except OSError as error:
        raise UserError(f"{path}: the key cannot be read ({error.strerror}); correct its permissions") from None


def _named(key: object, path: Path) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if not isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
        raise _wrong_kind(path, key)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        raise UserError(f"{path}: is a key on the curve {key.curve.name}; use Ed25519, ECDSA P-256 or P-384")
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    algorithm: Algorithm = "ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "ecdsa"
    return PublicKey(key, algorithm, hashlib.sha256(der).hexdigest())


def _wrong_kind(path: Path, key: object) -> UserError:
    kind = type(key).__name__.removesuffix("PrivateKey").removesuffix("PublicKey").lstrip("_")
    return UserError(
        f"{path}: is a {kind} key; use Ed25519, ECDSA P-256 or P-384, for example a pair made with"
        " `i2i-unlearn keys create`"
    )
