"""Where an extractor's weights come from, and the check that they are the ones that were pinned."""

import re
from dataclasses import dataclass
from pathlib import Path

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file, digest_folder

_SHA256 = re.compile("[0-9a-f]{64}")
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Source:
    """What follows the colon in `evaluate.extractor`."""

    setting: str
    """The whole setting, for messages."""
    where: str
    """A file, a folder, or a name on the hub."""
    pin: str
    """sha256 (64 hex digits) or commit (40 hex digits); empty = none given."""

    @property
    def commit(self) -> str:
        """The pin if it is a commit, else nothing."""
        return self.pin if _COMMIT.fullmatch(self.pin) else ""

    @property
    def sha256(self) -> str:
        """The pin if it is a sha256, else nothing."""
        return self.pin if _SHA256.fullmatch(self.pin) else ""


def read_source(setting: str, rest: str) -> Source:
    """Read PATH or PATH@PIN; an @ without a pin behind it belongs to the path.

    Raises:
        UserError: there is no path.
    """
    where, at, pin = rest.rpartition("@")
    if at and not (_SHA256.fullmatch(pin) or _COMMIT.fullmatch(pin)):
        where, pin = rest, ""
    if not at:
        where, pin = rest, ""
    if not where:
        raise UserError(f"evaluate.extractor={setting!r} names no file or folder after the colon; add its path")
    return Source(setting, where, pin)


def digest_of(source: Source) -> str:
    """The pin; where there is none, the digest of the file or folder; empty where it is neither."""
    path = Path(source.where)
    return source.pin or (_digest(path) if path.exists() else "")


def check_pinned(path: Path, sha256: str) -> None:
    """Compare the digest of a file, or of all files of a folder, with the sha256 given; nothing without one.

    Raises:
        UserError: it has another.
    """
    found = _digest(path)
    if sha256 and found != sha256:
        raise UserError(f"{path}: has sha256 {found}, {sha256} was asked for; fetch it again, or pin what is there")


def _digest(path: Path) -> str:
    return digest_folder(path) if path.is_dir() else digest_file(path)
