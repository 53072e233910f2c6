"""A record: JSON lines, only ever appended to, each line holding the sha256 of the line before it.

A line that is changed, removed or inserted later breaks the chain and is found the next time the file is read. Cutting
off the end, or rewriting everything from some line on, is found only if somebody kept the digest of a line (`verify`).
Two files are such records: the promotion ledger, as MLflow keeps no history of an alias (registry/history.py), and the
list of the forgotten (data/forgotten.py).
"""

import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import disk_full_as_user_error

SCHEMA_VERSION = 2
BEFORE_THE_FIRST = ""
"""What the first line gives as the sha256 of the line before it."""


class Ledger:
    """An open, locked record. Made by `opened`."""

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self._path = path
        self._file = file

    def records(self) -> list[dict[str, Any]]:
        """All records, oldest first.

        Raises:
            UserError: a line is damaged or does not follow from the one before it.
        """
        return _parse(self._path, self._content())

    def append(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Add a record; return it as written: with schema_version, time (UTC) and previous_sha256.

        Raises:
            UserError: the record was damaged before, or the disk is full (then nothing is added).
        """
        content = self._content()
        _parse(self._path, content)
        previous = _digest(content.splitlines()[-1]) if content else BEFORE_THE_FIRST
        time = datetime.now(UTC).isoformat(timespec="seconds")
        written = {"schema_version": SCHEMA_VERSION, "time": time, **record, "previous_sha256": previous}
        line = json.dumps(written, sort_keys=True, allow_nan=False).encode() + b"\n"
        with disk_full_as_user_error(self._path):
            try:
                self._write(line)
            except OSError:
                self._file.truncate(len(content))  # half a line would make the whole record unreadable
                raise
        return written

    def _write(self, line: bytes) -> None:
        while line:
            line = line[self._file.write(line) :]
        os.fsync(self._file.fileno())

    def _content(self) -> bytes:
        self._file.seek(0)
        return self._file.read()


@contextmanager
def opened(path: str | Path) -> Iterator[Ledger]:
    """Open a record exclusively: others on this machine wait. The file is created if it does not exist.

    Raises:
        UserError: the folder does not exist or is not writable.
    """
    path = Path(path)
    try:
        file = io.FileIO(path, "a+")
    except OSError as error:
        raise UserError(
            f"{path}: this record cannot be written ({error.strerror}); correct its path (of the promotion ledger: "
            "promote.ledger), or get write access to it"
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield Ledger(path, file)


def read(path: str | Path) -> list[dict[str, Any]]:
    """All records of a file, oldest first; empty if there is no file yet.

    Raises:
        UserError: a line is damaged or does not follow from the one before it.
    """
    path = Path(path)
    try:
        return _parse(path, path.read_bytes()) if path.exists() else []
    except PermissionError:
        raise UserError(f"{path}: this user may not read this record; get read access to it") from None


def verify(path: str | Path, head: str = "") -> tuple[int, str]:
    """Number of records and digest of the newest line, after checking the whole chain.

    `head`: digest of a line that must be among them: the newest one at some earlier time.

    Raises:
        UserError: a line is damaged or does not follow from the one before it, or no line has the digest `head`.
    """
    path = Path(path)
    content = path.read_bytes() if path.exists() else b""
    _parse(path, content)
    digests = [_digest(line) for line in content.splitlines()]
    if head and head.strip().lower() not in digests:
        raise UserError(
            f"{path}: no line has the sha256 {head.strip()}; the end was cut off or rewritten (the newest of "
            f"{len(digests)} lines has {digests[-1] if digests else 'none'}); restore the file from a copy"
        )
    return len(digests), digests[-1] if digests else BEFORE_THE_FIRST


def _parse(path: Path, content: bytes) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    previous = BEFORE_THE_FIRST
    if content and not content.endswith(b"\n"):
        raise UserError(f"{path}: the last line is not complete; restore the file from a copy")
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError:
            raise UserError(f"{path}: line {number} is not valid JSON; restore the file from a copy") from None
        if not isinstance(record, dict) or record.get("previous_sha256") != previous:
            raise UserError(
                f"{path}: line {number} does not follow from the line before it, so this record was changed after it "
                "was written; restore the file from a copy"
            )
        if (found := record.get("schema_version")) != SCHEMA_VERSION:
            raise UserError(
                f"{path}: line {number} has schema_version {found!r}, this program reads {SCHEMA_VERSION}; use the "
                "i2i-unlearn that wrote it"
            )
        records.append(record)
        previous = _digest(line)
    return records


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
