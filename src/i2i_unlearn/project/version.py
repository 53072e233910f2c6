"""The version of this package that a project's results are made with. Imports nothing heavy: every command asks."""

from pathlib import Path

from i2i_unlearn import __version__
from i2i_unlearn.support.errors import UserError

VERSION_FILE = "package-version.txt"
"""In a project that only uses the package; all stages depend on it. A checkout of the repository has none."""
_NAME = "i2i-unlearn "


def version_line() -> str:
    """What the file holds if this version made the project."""
    return f"{_NAME}{__version__}\n"


def recorded_version(project: Path) -> str:
    """The version in the file, such as 0.1.0; empty if the folder has none.

    Raises:
        UserError: the file holds something else.
    """
    path = project / VERSION_FILE
    if not path.is_file():
        return ""
    line = path.read_text(encoding="utf-8").strip()
    if not line.startswith(_NAME):
        raise UserError(f"{path}: holds {line[:40]!r}, not {_NAME.strip()} and a version; restore it with git")
    return line.removeprefix(_NAME)


def check_version(project: Path) -> None:
    """Raise UserError if the project is of another version than the installed one."""
    recorded = recorded_version(project)
    if recorded not in ("", __version__):
        raise UserError(
            f"this project is of i2i-unlearn {recorded}, and {__version__} is installed, whose results may differ; run "
            f"`i2i-unlearn upgrade`, or install {recorded} again"
        )
