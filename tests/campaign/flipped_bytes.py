"""One byte flipped in a file: found wherever a digest is promised, and elsewhere told apart from the file as it was."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from safetensors.numpy import load_file

from i2i_unlearn.data.images.reading import iter_encoded, read_index
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.support import ledger
from i2i_unlearn.support.files import digest_folder
from tests.campaign.world import Chain, run

KEY = ("--key", "keys/public.pem")


def _evidence(project: Path) -> bool:
    ended = run(project, "evidence", "verify", "artifacts/evidence", *KEY)
    return ended.code != 0 and "Traceback" not in ended.err


def _ledger(project: Path) -> bool:
    """With the head as it was before: nothing else covers the newest line."""
    _, head = ledger.verify(project.parent / "kept/end/promotions.jsonl")
    ended = run(project, "registry", "ledger", "verify", "--head", head)
    return ended.code != 0 and "Traceback" not in ended.err


def _split(project: Path) -> bool:
    """The digest that `unlearn` noted of it, or its own check of what it holds."""
    try:
        read_manifest(project / "artifacts/splits/manifest.parquet", str(project / "data/images"))
    except Exception as error:
        return type(error).__name__ == "UserError"
    ended = run(project, "evaluate", "--out", "artifacts/again")
    return ended.code == 1 and ended.is_one_line


def _weights(project: Path) -> bool:
    noted = json.loads((project / "artifacts/unlearned/summary.json").read_text())["model_sha256"]
    return digest_folder(project / "artifacts/unlearned/model") != str(noted)


def _shards(project: Path) -> bool:
    """Or the byte means nothing: what is read is what was read before (Parquet's footer says some things twice)."""
    images, before = str(project / "data/images"), str(project.parent / "kept/end/data/images")
    try:
        read_manifest(project / "artifacts/splits/manifest.parquet", images)
        index = read_index(images)
        encoded = list(iter_encoded(images, index))
    except Exception as error:
        return type(error).__name__ == "UserError"
    return index.equals(read_index(before)) and encoded == list(iter_encoded(before, index))


PLACES: dict[str, tuple[str, Callable[[Path], bool]]] = {
    "evidence": ("artifacts/evidence/*", _evidence),
    "ledger": ("promotions.jsonl", _ledger),
    "splits": ("artifacts/splits/manifest.parquet", _split),
    "weights": ("artifacts/unlearned/model/*", _weights),
    "shards": ("data/images/*.parquet", _shards),
}
"""Files, and whether their check finds that one of them was changed."""


def run_flips(chain: Chain, number: int, seed: int, tell: Callable[[str], None] = print) -> list[dict[str, object]]:
    """Flip `number` bytes, one at a time; one row per flip."""
    rng = random.Random(seed)
    project = chain.put_back("end")
    rows = []
    for count in range(number):
        place, (pattern, is_found) = list(PLACES.items())[count % len(PLACES)]
        path = rng.choice(sorted(path for path in project.glob(pattern) if path.is_file() and path.stat().st_size))
        whole = path.read_bytes()
        position, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        path.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
        found = is_found(project)
        path.write_bytes(whole)
        name = str(path.relative_to(project))
        rows.append({"place": place, "file": name, "byte": position, "bit": bit, "found": found})
        if not found:
            tell(json.dumps(rows[-1]))
    return rows


def run_checkpoint_flips(folder: Path, number: int, seed: int) -> list[dict[str, object]]:
    """The same with checkpoints, whose file promises a digest: a changed one is never resumed from."""
    import torch

    from i2i_unlearn.support.errors import UserError
    from i2i_unlearn.training.checkpoints import Checkpoint, Checkpoints

    rng = random.Random(seed)
    store = Checkpoints(str(folder), "0" * 64)
    tensors = {"weight": torch.arange(300.0), "state": torch.arange(40.0).reshape(4, 10)}
    store.save(Checkpoint(3, tensors, [{"loss": 1.0}], {}, 2.5))
    (path,) = folder.glob("*.safetensors")
    whole = path.read_bytes()
    expected = load_file(path)
    rows: list[dict[str, object]] = []
    for _ in range(number):
        position = rng.randrange(len(whole))
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << rng.randrange(8)]) + whole[position + 1 :])
        try:
            loaded = store.load()
        except UserError:
            found = True
        else:
            found = loaded is None
        rows.append({"place": "checkpoints", "byte": position, "found": found})
        path.write_bytes(whole)
    assert expected.keys() == load_file(path).keys()
    return rows
