"""dvc.yaml, of this repository and of every other project, from one template."""

from i2i_unlearn.project.templates import render
from i2i_unlearn.project.version import VERSION_FILE

ORIGINAL = "artifacts/original/model"
"""What the stage `pretrain` makes."""


def dvc_file(*, sources: bool, original: str = ORIGINAL) -> str:
    """Text of dvc.yaml.

    Args:
        sources: stages depend on the folders of this repository's code; otherwise on the recorded version.
        original: the model before any request. The stage `pretrain` is there only if this is what it makes.
    """
    return render(
        "dvc.yaml.j2", sources=sources, version_file=VERSION_FILE, original=original, pretrain=original == ORIGINAL
    )
