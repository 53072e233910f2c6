"""DVC writes its list of who reads and writes what in place; a kill leaves half of it, and DVC then refuses to work."""

import json
import subprocess
import sys

import pytest

from i2i_unlearn.requests.run import bring_up_to_date

STAGES = """
stages:
  copy:
    cmd: cp given made
    deps: [given]
    outs: [made]
"""


@pytest.mark.parametrize("left", ["", '{"write": {"ma'])
def test_half_a_lock_is_removed_and_the_work_goes_on(tmp_path, monkeypatch, left):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], check=True)
    (tmp_path / "dvc.yaml").write_text(STAGES)
    (tmp_path / "given").write_text("x")
    lock = tmp_path / ".dvc/tmp/rwlock"
    lock.write_text(left)
    refused = subprocess.run([*dvc, "repro"], capture_output=True, text=True, check=False)
    assert "corrupted" in refused.stderr  # else this is no longer needed
    assert bring_up_to_date() == ["copy"]
    assert (tmp_path / "made").read_text() == "x"
    assert not any(json.loads(lock.read_text()).values())
