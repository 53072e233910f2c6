"""Where a result comes from: revisions of code and data."""

import subprocess
from pathlib import Path

import yaml

from i2i_unlearn.support.errors import UserError


def git_commit(repository: str | Path) -> str:
    """The checked-out commit, with `-dirty` if tracked files differ from it; empty without git."""
    commit = _git(repository, "rev-parse", "HEAD")
    changed = commit and _git(repository, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if changed else commit


def _git(repository: str | Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""  # an image without git, or a folder outside any repository
    return done.stdout.strip()


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
