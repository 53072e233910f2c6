"""Keyed codes for sample ids: outside the data folder, an image has a code that only the key's owner can match."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from i2i_unlearn.support.errors import UserError

KEY_FILE_VARIABLE = "I2I_UNLEARN_HMAC_KEY_FILE"
DEFAULT_KEY_FILE = ".secrets/hmac.key"
_KEY_BYTES = 32


def key_path(path: str | None = None) -> Path:
    """The key's file: `path`, else what I2I_UNLEARN_HMAC_KEY_FILE names, else .secrets/hmac.key."""
    return Path(path or os.environ.get(KEY_FILE_VARIABLE) or DEFAULT_KEY_FILE)


def load_key(path: str | None = None) -> bytes:
    """The key in the file that `key_path` names.

    Raises:
        UserError: the file is missing or holds no key.
    """
    file = key_path(path)
    try:
        key = bytes.fromhex(file.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        raise UserError(f"{file}: no key for sample ids; make one with `i2i-unlearn data key`") from None
    except (ValueError, OSError) as error:
        raise UserError(
            f"{file}: the key for sample ids cannot be read ({error}); it must be 64 hexadecimal digits"
        ) from None
    if len(key) < _KEY_BYTES:
        raise UserError(
            f"{file}: the key for sample ids has {len(key)} bytes, it needs {_KEY_BYTES}; make a new one with"
            " `i2i-unlearn data key`"
        )
    return key


def create_key(path: str | None = None) -> Path:
    """Write a new random key (file mode 600, a new folder 700); return its path.

    Raises:
        UserError: the file exists; another key would give every sample another code.
    """
    file = key_path(path)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UserError(
            f"{file}: a key already exists and is kept; remove it first if all codes are to change"
        ) from None
    with os.fdopen(descriptor, "w") as handle:
        handle.write(secrets.token_hex(_KEY_BYTES) + "\n")
    return file


def hmac_id(key: bytes, sample_id: str) -> str:
    """32 hexadecimal digits that stand for `sample_id`: HMAC-SHA256, cut to 128 bits."""
    return hmac.new(key, sample_id.encode(), hashlib.sha256).hexdigest()[:32]
