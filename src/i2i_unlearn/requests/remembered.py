"""What the last whole run left behind, so that its repeat need not ask MLflow, which takes seconds.

    facts   what `carry_out` told
    key     a digest of all that decides whether that still holds: settings, what DVC recorded of the stages
            (dvc.lock), the code, the promotion ledger, the list of the forgotten, and the registry's file

Only where the registry is a file in the project: a server, or a database elsewhere, is asked every time.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import i2i_unlearn
from i2i_unlearn.registry.project_registry import DATABASE
from i2i_unlearn.support.files import digest_file, digest_files, write_json

FILE = Path(".dvc/tmp/i2i-unlearn.json")


def remember(facts: Mapping[str, Any], files: list[Path]) -> None:
    """Keep `facts` with the present key, over these files."""
    if key := _key(files):
        write_json(FILE, {"key": key, "facts": facts})


def recall(files: list[Path]) -> dict[str, Any] | None:
    """What was kept, if nothing has changed since; None otherwise, and where that cannot be told."""
    try:
        kept = json.loads(FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(kept, dict) and "facts" in kept and kept.get("key") == _key(files)
    return kept["facts"] if known else None


def _key(files: list[Path]) -> str:
    """Empty where it cannot be told."""
    if (
        any(os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"))
        or not Path(DATABASE).is_file()
    ):
        return ""
    stat, package = Path(DATABASE).stat(), Path(i2i_unlearn.__file__).parent
    content = {
        "registry": (stat.st_size, stat.st_mtime_ns, stat.st_ino),
        "code": digest_files(sorted(package.rglob("*.py")), package),
        "files": {str(path): digest_file(path) for path in files if path.is_file()},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
