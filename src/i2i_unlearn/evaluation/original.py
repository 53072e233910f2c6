"""The original, which is the model before any request: where it is, and whether it is known.

The stage `snapshot` writes a folder `original` next to the teacher's model directory:

    summary.json   model (teacher | original | table | unknown), source and model_sha256 of the original,
                   teacher_source, teacher_sha256, why (it is unknown; empty otherwise)
    model/         its model directory, where it is another model than the teacher
    original_table.parquet   what it answered (original_table.py), where its weights are gone and a table was kept
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from i2i_unlearn.evaluation.findings import ORIGINAL, TEACHER
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder, read_json, write_json

UNKNOWN = "unknown"
TABLE = "table"


@dataclass(frozen=True, kw_only=True)
class OriginalFacts:
    """What summary.json says."""

    model: str = TEACHER
    source: str = ""
    model_sha256: str = ""
    teacher_source: str = ""
    teacher_sha256: str = ""
    why: str = ""

    def write(self, folder: Path) -> None:
        """Write `folder`/summary.json."""
        folder.mkdir(exist_ok=True)
        write_json(folder / "summary.json", asdict(self))

    def in_metrics(self) -> dict[str, Any]:
        """Entry `original` of metrics.json."""
        return {"model": self.model, "source": self.source, "why": self.why}


def find_original(teacher: Path, given: str | Path = "") -> tuple[str | Path, OriginalFacts]:
    """Model directory of the original, empty where the teacher takes its place, and what is known of it.

    Args:
        teacher: the teacher's model directory; the folder next to it counts where it was written for this teacher.
        given: model directory that the user names; empty = none.

    Raises:
        UserError: the folder next to the teacher's holds another model than the one that was fetched.
    """
    if str(given):
        same = digest_folder(Path(given)) == digest_folder(teacher)
        return given, OriginalFacts(model=TEACHER if same else ORIGINAL, source=str(given))
    folder = teacher.parent / "original"
    path = folder / "summary.json"
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict) or content.get("teacher_sha256") != digest_folder(teacher):
        return "", OriginalFacts()
    facts = OriginalFacts(**content)
    if facts.model != ORIGINAL:
        return "", facts
    if not (folder / "model").is_dir() or digest_folder(folder / "model") != facts.model_sha256:
        raise UserError(f"{folder}/model: not the original that was fetched; run `i2i-unlearn snapshot` again")
    return folder / "model", facts
