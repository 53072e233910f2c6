"""Signature of the weights in the OpenSSF model-signing format, by key and offline; it supports only ECDSA."""

import contextlib
import io
import json
from pathlib import Path

from i2i_unlearn.evidence.keys import PrivateKey, PublicKey


def can_sign(key: PublicKey) -> bool:
    """Whether the format supports keys of this kind."""
    return key.algorithm == "ecdsa"


def sign(model: Path, signature: Path, key: PrivateKey) -> None:
    """Sign a model directory; write `signature`."""
    from model_signing.signing import Config

    # The library passes the passphrase on unchanged, and bytes are needed there.
    Config().use_elliptic_key_signer(
        private_key=key.path,
        password=key.passphrase,
    ).sign(model, signature)


def fault(model: Path, signature: Path, trusted: Path) -> str:
    """Why the signature is not valid for this model directory; empty if it is. `trusted`: file of the public key."""
    from cryptography.exceptions import InvalidSignature
    from model_signing.verifying import Config

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints warnings about old formats
            Config().use_elliptic_key_verifier(public_key=trusted).verify(model, signature)
    except InvalidSignature:
        return "the signature does not match what is signed"
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, json.JSONDecodeError, OSError) as error:
        return " ".join(str(error).split())[:200]
    return ""
