"""Where a result comes from: revisions of code and data."""

import subprocess
import sys
from pathlib import Path

import yaml

from i2i_unlearn.support.errors import UserError


def git_commit(repository: str | Path) -> str:
    """The checked-out commit, with `-dirty` if tracked files below `repository` differ from it; empty without git."""
    commit = _git(repository, "rev-parse", "HEAD")
    changed = commit and _git(repository, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}-dirty" if changed else commit


def _git(repository: str | Path, *words: str) -> str:
    """What git prints; empty in an image without git, or outside any repository. That git refuses it is told."""
    try:
        done = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    if "dubious ownership" in done.stderr:
        owned = done.stderr.strip().splitlines()
        remedy = next((line.strip() for line in owned if "safe.directory" in line), "see `git status`")
        print(
            f"i2i-unlearn: {owned[0].removeprefix('fatal: ')}, so the commit is not recorded; if the repository can be "
            f"trusted, run: {remedy}",
            file=sys.stderr,
        )
    return done.stdout.strip() if done.returncode == 0 else ""


def data_md5(repository: str | Path) -> str:
    """DVC's digest of data/, from data.dvc; empty if there is no such file.

    Raises:
        UserError: data.dvc is malformed.
    """
    path = Path(repository) / "data.dvc"
    if not path.is_file():
        return ""
    try:
        return str(yaml.safe_load(path.read_text())["outs"][0]["md5"])
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        raise UserError(f"{path}: holds no digest; restore it with git, or run `dvc add data` again") from None


def git_user() -> str:
    """The name that git would write into a commit here; empty if none is set or there is no git."""
    return _git(".", "config", "user.name")
