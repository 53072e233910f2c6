"""What signing and verifying need besides the package itself."""

import importlib.util

from i2i_unlearn.support.errors import UserError

NEEDED = ("cryptography", "securesystemslib", "in_toto_attestation", "model_signing", "OpenSSL")


def require() -> None:
    """Say what to install if something is missing.

    Raises:
        UserError: a library of the extra `evidence` is not installed.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} not installed; run: pip install 'i2i-unlearn[evidence]'")
