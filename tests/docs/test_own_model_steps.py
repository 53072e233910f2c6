"""Step 3 of docs/own_data.md: what DVC then watches, with DVC itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEP = (
    "at the head of\n   `dvc.yaml`, write `models/mine` behind `original:`",
    "   dvc add models/mine\n   dvc remove pretrain\n",
)


def test_dvc_watches_the_users_model_after_one_command_and_one_word(tmp_path):
    page = (ROOT / "docs/own_data.md").read_text()
    assert all(part in page for part in STEP)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "models/mine").mkdir(parents=True)
    (tmp_path / "models/mine/config.json").write_text("{}")
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(tmp_path / ".site")}

    def dvc(*arguments):
        command = [str(Path(sys.executable).with_name("dvc")), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    dvc("init", "--no-scm", "-q")
    dvc("add", "-q", "models/mine")
    dvc("remove", "pretrain")
    path = tmp_path / "dvc.yaml"
    path.write_text(path.read_text().replace("original: artifacts/original/model", "original: models/mine"))
    graph = dvc("dag", "--dot")
    assert '"models/mine.dvc" -> "snapshot"' in graph
    assert "pretrain" not in graph
