"""A disk that fills up and a disk that becomes read-only under every command: one line, and nothing half-written."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.campaign.world import CHAIN, Chain, run

SPARE_BYTES = (0, 4096, 65_536)
"""What is left on the disk when a command begins."""


@contextmanager
def disk(place: Path, num_bytes: int) -> Iterator[Path]:
    """A file system in memory of this size, mounted at `place`. Needs root: root ignores the modes of files."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount a file system."""
    try:
        with disk(folder, 2**20):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False


def run_full_disks(chain: Chain) -> list[dict[str, object]]:
    """Every command on a disk with little space left, and on one that is read-only; one row each."""
    rows = []
    for command in CHAIN:
        for spare in (*SPARE_BYTES, None):
            rows.append(
                {"command": command, "spare": "read-only" if spare is None else spare, **_one(chain, command, spare)}
            )
    return rows


def _one(chain: Chain, command: str, spare: int | None) -> dict[str, object]:
    shutil.rmtree(chain.folder, ignore_errors=True)
    kept = chain.before(command)
    size = sum(-(-path.stat().st_size // 4096) * 4096 + 4096 for path in kept.rglob("*")) + 2**20
    with disk(chain.folder, size):
        shutil.copytree(kept, chain.folder, symlinks=True, dirs_exist_ok=True)
        before = _content(chain.folder)
        if spare is None:
            subprocess.run(["mount", "-o", "remount,ro", str(chain.folder)], check=True)
        else:
            free = shutil.disk_usage(chain.folder).free
            (chain.folder / ".filler").write_bytes(bytes(max(0, free - spare)))
        ended = run(chain.folder, *CHAIN[command])
        faults = []
        if ended.code == 0 and spare is None:
            faults.append("it says that it worked")
        if ended.code and not ended.is_one_line:
            faults.append(f"exit code {ended.code}: {ended.err.strip()[-300:]}")
        after = _content(chain.folder)
        if ended.code:
            faults += [f"half-written: {name}" for name in sorted(after.keys() - before.keys()) if not _may_stay(name)]
            faults += [f"lost: {name}" for name in sorted(before.keys() - after.keys())]
            # SQLite and logs may have grown; what people have written must be as it was.
            faults += [
                f"changed: {name}"
                for name in before.keys() & after.keys()
                if _is_theirs(name) and before[name] != after[name]
            ]
    chain.folder.rmdir()
    return {"code": ended.code, "faults": faults}


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".filler"
    }


def _may_stay(name: str) -> bool:
    """Checkpoints are there to go on from; MLflow keeps what it was sent of a version that it does not name yet.

    A promotion is written down before it is made: the next one finds it open and ends it.
    """
    return name.startswith(("checkpoints/", "mlflow-artifacts/", "mlflow.db", "promotions.jsonl"))


def _is_theirs(name: str) -> bool:
    return name.startswith(("params.yaml", "data/", "artifacts/"))
