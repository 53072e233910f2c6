"""The list of the forgotten: images that a promoted model has forgotten, recognised by their bytes under any name.

A file's name, folder and shard may change; its bytes do not. From promotion on (registry/forgotten.py) the list holds
a code of the bytes of every forgotten image: HMAC-SHA256, under the project's key, of the sha256 that the shards hold,
cut to 128 bits. Without the key nothing can be looked up in it, not even by somebody who has the images. The file is
with the requests, is only ever appended to, and each line holds the digest of the one before it (support/ledger.py).
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import UserError

FILE = "forgotten.jsonl"
"""In the folder of the requests."""
_CODE = "image bytes "
_KEY = "which key is this?"


def bytes_code(key: bytes, sha256: str) -> str:
    """32 hexadecimal digits that stand for the image with this digest; never equal to the code of a sample id."""
    return _code(key, _CODE + sha256)


def key_code(key: bytes) -> str:
    """What tells one key from another, and nothing else."""
    return _code(key, _KEY)


def _code(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256").hex()[:32]


@dataclass(frozen=True)
class Forgotten:
    """The list as read."""

    path: Path
    requests: Mapping[str, frozenset[str]]
    """For each code the ids of the requests that the image was forgotten for; empty if nothing was promoted yet."""
    key_codes: frozenset[str]

    def look_up(self, key: bytes, digests: Iterable[str]) -> list[frozenset[str]]:
        """For each image's sha256 the requests that it was forgotten for; an empty set = it is not in the list.

        Raises:
            UserError: the list was made with another key, which would find nothing.
        """
        if self.key_codes - {key_code(key)}:
            raise UserError(
                f"{self.path}: was made with another key for sample ids than this one, so no forgotten image would be "
                "recognised; give the project's key (--hmac-key-file, I2I_UNLEARN_HMAC_KEY_FILE)"
            )
        nothing: frozenset[str] = frozenset()
        return [self.requests.get(bytes_code(key, sha256), nothing) for sha256 in digests]


def read_forgotten(requests: str | Path) -> Forgotten:
    """The list in the folder of the requests; empty if there is none.

    Raises:
        UserError: a line of it is damaged, or does not follow from the one before it.
    """
    path = Path(requests) / FILE
    lines = ledger.read(path)
    found: dict[str, frozenset[str]] = {}
    for line in lines:
        ids = frozenset(line["requests"])
        found.update({code: found.get(code, frozenset()) | ids for code in line["codes"]})
    return Forgotten(path, found, frozenset(line["key_code"] for line in lines))
