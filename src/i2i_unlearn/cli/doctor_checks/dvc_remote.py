"""The place from which others get data and models: DVC's remote."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from i2i_unlearn.cli.doctor_checks.base import Line

NAME = "dvc remote"
LIMIT_S = 60
ASK = """
import json
from dvc.config import Config
name = Config(".dvc")["core"].get("remote")
if not name:
    print(json.dumps({"name": ""}))
else:
    from dvc.repo import Repo  # takes longer to import than all else here
    with Repo() as repo:
        remote = repo.cloud.get_remote(name)
        print(json.dumps({"name": name, "protocol": remote.fs.protocol, "there": bool(remote.fs.exists(remote.path))}))
"""


def dvc_remote() -> Iterator[Line]:
    """Whether a remote is set up and answers; asked in a separate process, which can be ended."""
    yield ask(Path.cwd(), LIMIT_S)


def ask(folder: Path, limit_s: float) -> Line:
    """The remote of the checkout `folder`."""
    if not (folder / ".dvc").is_dir():
        return Line(NAME, "warn", f"{folder} is not a DVC checkout", "run this in the project's folder")
    try:
        ended = subprocess.run(
            [sys.executable, "-c", ASK], cwd=folder, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Line(NAME, "fail", f"gave no answer in {limit_s:g} s", "check the network and `dvc remote list`")
    if ended.returncode:
        words = (ended.stderr.strip().splitlines() or ["no reason"])[-1][:300]
        if "No module named 'dvc'" in words:
            return Line(NAME, "warn", "dvc is not installed", "pip install 'i2i-unlearn[dvc]', if you use dvc repro")
        return Line(NAME, "fail", words, "check `dvc remote list` and the remote's credentials")
    found = json.loads(ended.stdout.splitlines()[-1])
    if not found["name"]:
        return Line(NAME, "warn", "none: data and models are only on this disk", "dvc remote add -d storage URL")
    if not found["there"]:
        advice = "correct its URL if it is wrong; if nothing was pushed yet, run dvc push"
        return Line(NAME, "warn", f"{found['name']} ({_words(found)}) holds nothing", advice)
    return Line(NAME, "ok", f"{found['name']} ({_words(found)}) answers")


def _words(found: dict[str, object]) -> str:
    protocol = found["protocol"]
    return str(protocol[0] if isinstance(protocol, list) else protocol)
