"""The table of an original's answers (evaluation/original_table.py), kept with its version.

It is in a run of its own, which tags of the version name with the file's digest.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from i2i_unlearn.config.sections import EvaluateConfig, RegisterConfig
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.evaluation.evaluated_model import digest
from i2i_unlearn.evaluation.original_table import FILE, make_table, write_table
from i2i_unlearn.models import load_model
from i2i_unlearn.registry import project_registry, tracking
from i2i_unlearn.support import files
from i2i_unlearn.support.device import num_threads, pick_device
from i2i_unlearn.support.errors import UserError

RUN_TAG, DIGEST_TAG = "table_run_id", "table_sha256"


def keep_table(
    images: str,
    splits: str | Path,
    config: EvaluateConfig,
    register: RegisterConfig,
    *,
    version: str = "",
    ledger: str | Path = "",
) -> dict[str, float | str]:
    """Make the table of an original and keep it with its version; `version` is empty for the newest original.

    `ledger` is the promotion ledger; empty = none.

    Returns:
        model_name, version, run_id, table_sha256, num_images, num_bytes.

    Raises:
        UserError: there is no such version, it is no original, its weights are gone, or MLflow cannot be reached.
    """
    manifest = read_manifest(Path(splits) / "manifest.parquet", images)
    device = pick_device(config.device)
    with project_registry.connect(ledger, register.model_name) as server, TemporaryDirectory() as folder:
        original = _original(server, register.model_name, version)
        model = load_model(tracking.download_checked(server, original, folder) / tracking.MODEL_PATH, config.model)
        model.to(device).requires_grad_(False)
        path = Path(folder) / FILE
        with num_threads(config.num_threads):
            table = make_table(images, manifest, model, original.tags["model_sha256"], config, device)
        write_table(table, path)
        sha256, num_bytes = files.digest_file(path), path.stat().st_size
        run_key = digest({"model_name": register.model_name, "version": original.number, "table": sha256})
        record = server.find_record(register.experiment, run_key)
        record = record or server.new_record(register.experiment, run_key, f"table of version {original.number}")
        with record.writing(run_key):
            record.log_file(path)
            server.tag(original, {RUN_TAG: record.run_id, DIGEST_TAG: sha256})
    return {
        "model_name": register.model_name,
        "version": original.number,
        "run_id": record.run_id,
        "table_sha256": sha256,
        "num_images": len(manifest.rows),
        "num_bytes": num_bytes,
    }


def _original(server: tracking.Server, model_name: str, number: str) -> tracking.Version:
    originals = server.versions(model_name, kind="original")
    if number:
        originals = [server.version(model_name, number)]
    if not originals or originals[0].tags.get("kind") != "original":
        which = f"version {number} is not an original" if number else "no original is registered"
        raise UserError(f"{model_name}: {which}; register it with `i2i-unlearn register --original DIR`")
    return originals[0]


def fetch_table(uri: str, folder: Path) -> Path | None:
    """Download the table of `models:/NAME/VERSION` into `folder`; None where none was kept.

    Raises:
        UserError: it is gone, was changed after it was kept, or MLflow cannot be reached.
    """
    name, _, number = uri.removeprefix("models:/").partition("/")
    with tracking.connect() as server:
        tags = server.version(name, number).tags
        if RUN_TAG not in tags:
            return None
        server.download_record(tags[RUN_TAG], FILE, folder)
    if files.digest_file(folder / FILE) != tags.get(DIGEST_TAG):
        raise UserError(f"{uri}: the table of its answers was changed after it was kept; restore it from a backup")
    return folder / FILE
