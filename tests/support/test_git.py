"""Which commit made a result: known, or told why not."""

import os
import subprocess
from pathlib import Path

import pytest

from i2i_unlearn.support import git


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A git repository with the project in a folder of it, next to another one."""
    for name in [key for key in os.environ if key.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    root = tmp_path / "repository"
    for folder in ("project", "other"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file.txt").write_text("1")
    call = ("git", "-C", str(root), "-c", "user.name=A", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "Begin")):
        subprocess.run([*call, *words], check=True)
    return root


def test_only_changes_of_the_project_itself_make_a_commit_dirty(repository):
    commit = git.git_commit(repository / "project")
    assert len(commit) == 40
    (repository / "other/file.txt").write_text("2")
    assert git.git_commit(repository / "project") == commit
    (repository / "project/file.txt").write_text("2")
    assert git.git_commit(repository / "project") == f"{commit}-dirty"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a repository to somebody else")
def test_a_repository_of_somebody_else_is_told_and_not_dropped_in_silence(repository, capsys):
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 12345, 12345)
    assert git.git_commit(repository / "project") == ""
    told = capsys.readouterr().err
    assert "dubious ownership" in told
    assert "the commit is not recorded" in told
    assert "safe.directory" in told


def test_outside_a_repository_nothing_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert git.git_commit(tmp_path) == ""
    assert capsys.readouterr().err == ""
