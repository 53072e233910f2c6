"""Files that appear whole or not at all, and digests of what is in them."""

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from i2i_unlearn.support.errors import UserError

_IGNORE_ALL = "*\n"
_LONGEST_ASIDE = 237  # a name of 255 bytes less .{name}.new.{12 digits}


@contextmanager
def atomic_folder(out: str | Path) -> Iterator[Path]:
    """Yield an empty folder next to `out`; on success it replaces `out`, on any failure `out` is untouched.

    Of several processes that write `out` at the same time, the last one's folder stays.

    Raises:
        UserError: the disk is full.
    """
    out = Path(out)
    with folder_aside(out) as aside:
        _restore(out)
        with disk_full_as_user_error(out):
            yield aside
            aside.chmod(0o755)  # it was private; other steps of a pipeline run as other users
        _replace(out, aside)


def folder_aside(out: Path) -> AbstractContextManager[Path]:
    """An empty, private folder next to `out`; it is removed at the end if it is still there.

    It is locked: what is not locked was left by a killed run, and is removed first.
    """
    return _aside(out, partial(Path.mkdir, mode=0o700))


@contextmanager
def _aside(out: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    out.parent.mkdir(parents=True, exist_ok=True)
    short = out.name if len(out.name.encode(errors="surrogateescape")) <= _LONGEST_ASIDE else out.name[:50]
    for left in out.parent.glob(f".{glob.escape(short)}.new.*"):
        _remove_if_left(left)
    aside, descriptor = _made_and_locked(out.with_name(f".{short}.new"), make)
    try:
        yield aside
    finally:
        _remove(aside)
        os.close(descriptor)


def _made_and_locked(start: Path, make: Callable[[Path], None]) -> tuple[Path, int]:
    while True:
        aside = start.with_name(f"{start.name}.{uuid.uuid4().hex[:12]}")  # pids of two pods may be the same
        make(aside)
        descriptor = os.open(aside, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if aside.exists():  # else another process took it for left, before it was locked
            return aside, descriptor
        os.close(descriptor)


def _remove_if_left(aside: Path) -> None:
    with suppress(OSError):  # locked, or gone
        descriptor = os.open(aside, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(aside)
        finally:
            os.close(descriptor)


def _remove(aside: Path) -> None:
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)


def _replace(out: Path, aside: Path) -> None:
    """Rename `aside` to `out`; again where another process puts its own there between the two renames."""
    while True:
        old = out.with_name(f".{out.name}.old.{uuid.uuid4().hex[:12]}")  # pids of two pods may be the same
        with suppress(FileNotFoundError):
            out.rename(old)
        try:
            aside.rename(out)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        finally:
            if out.exists():
                shutil.rmtree(old, ignore_errors=True)


def _restore(out: Path) -> None:
    """Put back an output that a killed run moved aside and did not replace; remove one that it did replace."""
    for old in out.parent.glob(f".{glob.escape(out.name)}.old.*"):
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            with suppress(OSError):  # another process did it
                old.rename(out)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield an empty file next to `path`; on success it replaces `path`, on any failure `path` is untouched.

    As `folder_aside`, it is locked, and what a killed run left is removed first.

    Raises:
        UserError: the disk is full.
    """
    path = Path(path)
    with disk_full_as_user_error(path), _aside(path, Path.touch) as aside:
        yield aside
        aside.replace(path)


def hide_from_git(folder: Path, remedy: str) -> None:
    """Write a .gitignore into `folder` that hides all of it; `remedy` ends the message where it holds another one.

    Raises:
        UserError: the folder has a .gitignore of its own.
    """
    ignore = folder / ".gitignore"
    if not ignore.exists():
        with atomic_file(ignore) as aside:
            aside.write_text(_IGNORE_ALL, encoding="utf-8")
    elif ignore.read_text(encoding="utf-8") != _IGNORE_ALL:
        raise UserError(f"{ignore} is not of this command; {remedy}")


@contextmanager
def disk_full_as_user_error(path: Path) -> Iterator[None]:
    """Turn "no space left" into one line that names the place."""
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            free = shutil.disk_usage(path.parent).free
            raise UserError(
                f"{path}: the disk is full ({free // 2**20} MiB free); free some space and run the same command again"
            ) from error
        raise


def is_disk_full(error: Exception) -> bool:
    """Whether this is about a lack of space.

    Libraries wrap the operating system's error (safetensors), repeat its words (pyarrow) or have their own (SQLite).
    """
    words = ("No space left", "File too large", "disk is full")
    return getattr(error, "errno", None) == errno.ENOSPC or any(some in str(error) for some in words)


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` whole or not at all, with sorted keys, so that equal content gives equal bytes."""
    with atomic_file(path) as aside:
        aside.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that writes it (see `i2i-unlearn --help`)") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); rerun the stage that writes it") from None


def digest_file(path: str | Path) -> str:
    """sha256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(folder: str | Path) -> str:
    """sha256 over names and sha256 of all files below `folder`, in sorted order: the digest of a model directory.

    Links are followed, also those to folders, as whoever loads the model follows them.

    Raises:
        UserError: a link leads nowhere.
    """
    folder = Path(folder)
    paths = sorted(Path(place, name) for place, _, names in os.walk(folder, followlinks=True) for name in names)
    for path in paths:
        if path.is_symlink() and not path.exists():
            target = os.readlink(path)
            raise UserError(
                f"{path}: links to {target}, which is not there (a cache that was emptied?); fetch it again"
            )
    return digest_files([path for path in paths if path.is_file()], folder)


def digest_files(paths: Iterable[Path], folder: Path) -> str:
    """sha256 over names, relative to `folder`, and sha256 of these files, in this order."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{digest_file(path)}  {path.relative_to(folder).as_posix()}\n".encode())
    return total.hexdigest()
