"""Which files a bundle has: plain files only, and only those that the evidence names."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from i2i_unlearn.evidence.predicate import File
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError

STATEMENT = "evidence.json"
METRICS, VERDICTS, SUMMARY = "metrics.json", "verdicts.json", "unlearn_summary.json"
MANIFEST = "manifest.parquet"
POLICIES = "policies"
WEIGHTS_SIGNATURE = "model.sig"
"""In the OpenSSF model-signing format."""


def policy_path(name: str) -> str:
    """Where the policy `name` is in a bundle."""
    return f"{POLICIES}/{name}.json"


def plain_files(folder: Path) -> tuple[list[str], list[str]]:
    """Paths below `folder`, sorted: plain files, and what is neither a plain file nor a folder (links, pipes)."""
    plain, other = [], []
    for place, folders, names in os.walk(folder):
        for name in (*names, *folders):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                plain.append(path.relative_to(folder).as_posix())
            elif not stat.S_ISDIR(mode):
                other.append(path.relative_to(folder).as_posix())
    return sorted(plain), sorted(other)


def describe_all(folder: Path) -> tuple[File, ...]:
    """Digest and size of all files below `folder`.

    Raises:
        UserError: something there is neither file nor folder, so a copy would differ.
    """
    plain, other = plain_files(folder)
    if other:
        raise UserError(
            f"{folder}: {other[0]} is a link or not a plain file, as in a cache of Hugging Face, or of DVC with "
            f"cache.type symlink; replace the links: `cp -rL {folder} COPY` or `dvc unprotect {folder}`"
        )
    return tuple(
        File.model_construct(name=name, sha256=files.digest_file(folder / name), size=(folder / name).stat().st_size)
        for name in plain
    )


def printable(text: str) -> str:
    """`text` without control characters: file names may come from anybody."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


OTHER_LINE_ENDS = (
    "has other line ends (CRLF) than were signed, as git or an editor on Windows writes them; copy the folder as it "
    "is, for example as a zip file, or clone with `git -c core.autocrlf=false`"
)
_MOST_TEXT = 2**26
"""Bytes; larger files are not text."""


def has_other_line_ends(path: Path, sha256: str) -> bool:
    """Whether `path` had this digest before its line ends were changed."""
    if path.stat().st_size > _MOST_TEXT:
        return False
    content = path.read_bytes()
    return b"\r\n" in content and hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest() == sha256


def differences(folder: Path, named: Iterable[File], *, leave_out: str = "") -> Iterator[tuple[str, str]]:
    """What in `folder` differs from `named`: path and why. The folder `leave_out` is skipped."""
    plain, other = (
        [name for name in names if not leave_out or not name.startswith(f"{leave_out}/")]
        for names in plain_files(folder)
    )
    expected = {file.name: file for file in named}
    yield from ((name, "is a link or not a plain file; copy the folder with `cp -rL` and check that") for name in other)
    yield from ((name, "is not named in the evidence") for name in plain if name not in expected)
    for name, file in sorted(expected.items()):
        if name not in plain:
            if name not in other:
                yield name, "is missing"
        elif files.digest_file(folder / name) != file.sha256:
            if has_other_line_ends(folder / name, file.sha256):
                yield name, OTHER_LINE_ENDS
                continue
            size = (folder / name).stat().st_size
            was = f"{size} bytes instead of {file.size}" if size != file.size else "same size, other content"
            yield name, f"was changed ({was})"
