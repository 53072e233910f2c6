"""Export of a model in the format that its original was published in."""

from pathlib import Path

from i2i_unlearn.config.sections import SnapshotConfig
from i2i_unlearn.evaluation.evaluated_model import read_summary
from i2i_unlearn.models import load_model
from i2i_unlearn.models.published import is_checkpoint
from i2i_unlearn.models.published.writing import write_original
from i2i_unlearn.serving.source import opened
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file
from i2i_unlearn.training.run import Facts


def run(model: str, teacher: str | Path, out: str | Path, config: SnapshotConfig, *, like: str = "") -> Facts:
    """Write the model (a directory or models:/NAME/VERSION) to the file `out`, in the layout of its original.

    The original is `like`, or else the file that the summary next to `teacher` names, whose digest must match.

    Raises:
        UserError: the model does not come from a published file, or that file is missing, changed, or does not fit.
    """
    with opened(model) as source:
        original = Path(like) if like else _recorded(Path(teacher))
        found, key = load_model(source.directory, config.model), str(config.checkpoint.get("weights", ""))
        exported = write_original(found, source.directory, original, Path(out), key)
    return {
        "file": str(out),
        "format": exported.format,
        "layout_of": str(original),
        "tensors": exported.num_tensors,
        "changed_tensors": exported.num_changed,
        "file_sha256": digest_file(out),
    }


def _recorded(teacher: Path) -> Path:
    """The published file that the teacher was made from, as `snapshot` recorded it."""
    try:
        summary = read_summary(teacher.parent, "snapshot")
    except UserError as error:
        raise UserError(f"{error}; or give the original file with --like, or the teacher with --teacher") from None
    source = summary["source"]
    if not is_checkpoint(source):
        raise UserError(
            f"{teacher}: was made from {source}, not from a published file, so there is no "
            "original format to return to; if you have such a file, give it with --like"
        )
    if not Path(source).is_file():
        raise UserError(f"{source}: file no longer exists; give the original file with --like")
    if digest_file(source) != summary["source_sha256"]:
        raise UserError(f"{source}: is not the file that the teacher was made from; give that one with --like")
    return Path(source)
