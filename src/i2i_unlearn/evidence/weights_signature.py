"""Signature of the weights in the OpenSSF model-signing format, by key and offline; it supports only ECDSA."""

import contextlib
import io
import json
from importlib.metadata import version
from pathlib import Path

from i2i_unlearn.evidence.keys import PrivateKey, PublicKey

_OF_GIT = (".git", ".gitattributes", ".github", ".gitignore")
"""Model-signing 1.0 signs these and 1.1 leaves them out, so each refuses the other's signature of a folder with one."""


def why_not(key: PublicKey, model: Path) -> str:
    """Why this key and this format cannot sign a model directory; empty if they can."""
    if key.algorithm != "ecdsa":
        return "the format supports ECDSA keys only"
    if there := _of_git(model):
        return f"{model} has {there}, and versions of model-signing disagree on whether it is signed"
    return ""


def _of_git(model: Path) -> str:
    return next((name for name in _OF_GIT if (model / name).exists()), "")


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
        found = "the signature does not match what is signed"
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, json.JSONDecodeError, OSError) as error:
        found = " ".join(str(error).split())[:200]
    else:
        return ""
    there = _of_git(model)
    other = (
        f"; {there} is signed by model-signing 1.0 and left out by 1.1: check with the one that signed" if there else ""
    )
    return f"{found} (model-signing {version('model-signing')}){other}"
