"""Signature of the weights in the OpenSSF model-signing format, by key and offline; that format knows ECDSA only."""

import contextlib
import io
import json
from pathlib import Path

from i2i_unlearn.evidence.keys import PrivateKey, PublicKey


def can_sign(key: PublicKey) -> bool:
    """Whether the format knows keys of this kind."""
    return key.algorithm == "ecdsa"


def sign(model: Path, signature: Path, key: PrivateKey) -> None:
    """Sign a model directory; write `signature`."""
    from model_signing.signing import Config

    # The library hands the passphrase on as it is, and bytes are what is wanted there.
    Config().use_elliptic_key_signer(
        private_key=key.path,
        password=key.passphrase,
    ).sign(model, signature)


def fault(model: Path, signature: Path, trusted: Path) -> str:
    """Why the signature does not count for this model directory; empty if it does. `trusted`: the public key's file."""
    from cryptography.exceptions import InvalidSignature
    from model_signing.verifying import Config

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints warnings about old formats
            Config().use_elliptic_key_verifier(public_key=trusted).verify(model, signature)
    except InvalidSignature:
        return "the signature does not fit what is signed"
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, json.JSONDecodeError, OSError) as error:
        return " ".join(str(error).split())[:200]
    return ""
