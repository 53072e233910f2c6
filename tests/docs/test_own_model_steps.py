"""Step 3 of docs/own_data.md: what DVC then watches, with DVC itself."""

import shutil
from pathlib import Path

from tests.support.commands import dvc

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
    dvc(tmp_path, "init", "--no-scm", "-q")
    dvc(tmp_path, "add", "-q", "models/mine")
    dvc(tmp_path, "remove", "pretrain")
    path = tmp_path / "dvc.yaml"
    path.write_text(path.read_text().replace("original: artifacts/original/model", "original: models/mine"))
    graph = dvc(tmp_path, "dag", "--dot")
    assert '"models/mine.dvc" -> "snapshot"' in graph
    assert "pretrain" not in graph
