"""Export of a model in the format that its original was published in."""

import tempfile
from pathlib import Path

from i2i_unlearn.config.sections import SnapshotConfig
from i2i_unlearn.models import load_model
from i2i_unlearn.models.published import is_checkpoint
from i2i_unlearn.models.published.writing import write_original
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file, read_json
from i2i_unlearn.training.run import Facts


def run(model: str, teacher: str | Path, out: str | Path, config: SnapshotConfig, *, like: str = "") -> Facts:
    """Write the model (a directory or models:/NAME/VERSION) to the file `out`, in the layout of its original.

    The original is `like`, or else the file that the summary beside `teacher` names, whose digest must be the same.

    Raises:
        UserError: of no family or origin that has such a format, or the original is missing, another, or does not fit.
    """
    with tempfile.TemporaryDirectory() as fetched:
        folder = Path(_local(model, fetched))
        original = Path(like) if like else _recorded(Path(teacher))
        exported = write_original(load_model(folder, config.model), folder, original, Path(out))
    return {
        "file": str(out),
        "format": exported.format,
        "layout_of": str(original),
        "tensors": exported.num_tensors,
        "changed_tensors": exported.num_changed,
        "file_sha256": digest_file(out),
    }


def _local(model: str, fetched: str) -> str:
    if not model.startswith("models:"):
        return model
    from i2i_unlearn.registry.tracking import fetch_version  # imports mlflow: only where the registry is asked

    fetch_version(model, f"{fetched}/model")
    return f"{fetched}/model"


def _recorded(teacher: Path) -> Path:
    """The published file that the teacher was made from, as `snapshot` wrote it down."""
    summary = teacher.parent / "summary.json"
    if not summary.is_file():
        raise UserError(f"{summary}: no such file; name the original file with --like, or the teacher with --teacher")
    told = read_json(summary)
    source = str(told.get("source", ""))
    if not is_checkpoint(source):
        raise UserError(
            f"{teacher}: was made from {source or 'something unknown'}, no published file, so it has no original "
            "format; hand on the model directory itself, or name a published file with --like"
        )
    if not Path(source).is_file():
        raise UserError(f"{source}: no such file any more; name the original file with --like")
    if digest_file(source) != told.get("source_sha256"):
        raise UserError(f"{source}: is another file than the teacher was made from; name the original with --like")
    return Path(source)
