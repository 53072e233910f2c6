"""`make release`: what it builds, and when it does not."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import i2i_unlearn

ROOT = Path(__file__).parents[2]
VERSION = i2i_unlearn.__version__
pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path):
    """The files that git knows, as they are now, in a repository without changes."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/", "docs/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "installed").touch()  # the stamp of an installation: this interpreter's is taken
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--message", "all")
    return tmp_path


def git(folder, *words):
    subprocess.run(["git", *words], cwd=folder, check=True)


def release(folder):
    own = [f"BIN={Path(sys.executable).parent}", "STAMP=installed", "ENGINE="]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(["make", "release", *own], cwd=folder, env=environment, capture_output=True, text=True)


def test_a_release_has_wheel_sdist_constraints_and_their_checksums(checkout):
    ended = release(checkout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "no image" in ended.stdout
    dist = checkout / "dist"
    built = {f"i2i_unlearn-{VERSION}-py3-none-any.whl", f"i2i_unlearn-{VERSION}.tar.gz", "constraints.txt"}
    assert {path.name for path in dist.iterdir()} == {*built, "SHA256SUMS"}
    sums = dict(reversed(line.split()) for line in (dist / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: hashlib.sha256((dist / name).read_bytes()).hexdigest() for name in built}
    # The wheel is built from the sdist, so the sdist is complete.
    names = zipfile.ZipFile(dist / f"i2i_unlearn-{VERSION}-py3-none-any.whl").namelist()
    assert "i2i_unlearn/package_data/policies/as_unseen.yaml" in names


def test_a_version_that_the_changelog_does_not_have_is_not_released(checkout):
    path = checkout / "CHANGELOG.md"
    path.write_text(path.read_text().replace(f"## {VERSION}", "## 0.0.1"))
    ended = release(checkout)
    assert ended.returncode
    assert f"CHANGELOG.md has no section '## {VERSION}'" in ended.stdout + ended.stderr
    assert not (checkout / "dist").exists()


def test_changes_that_are_not_committed_are_not_released(checkout):
    with (checkout / "params.yaml").open("a") as file:
        file.write("# changed\n")
    ended = release(checkout)
    assert ended.returncode
    assert "not committed" in ended.stdout + ended.stderr
    assert not (checkout / "dist").exists()
