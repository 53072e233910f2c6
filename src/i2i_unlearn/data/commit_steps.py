"""The DVC and git commands that put a request under version control: printed for the user, or run for them."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from i2i_unlearn.support.errors import UserError


def commands(request_id: str, requests: Path, params: Path) -> list[list[str]]:
    """Commands that bring a filed request under version control; run them from the project's root."""
    tracked = requests.parent
    pointer, ignore = dvc_files(requests)
    changed = [str(pointer), str(params)] if pointer.exists() else [str(pointer), str(ignore), str(params)]
    return [
        ["dvc", "add", str(tracked)],
        ["git", "add", *changed],
        ["git", "commit", "-m", f"Add forget request {request_id}", "--", *changed],
    ]


def dvc_files(requests: Path) -> tuple[Path, Path]:
    """What `dvc add` of the data folder writes: its pointer and, the first time, the .gitignore next to it."""
    tracked = requests.parent
    return tracked.with_name(f"{tracked.name}.dvc"), tracked.with_name(".gitignore")


def run_all(steps: list[list[str]]) -> None:
    """Run the commands in order; their output is shown only if one fails.

    Raises:
        UserError: one failed, or a program is not installed.
    """
    for step in steps:
        try:
            done = subprocess.run([_program(step[0]), *step[1:]], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise UserError(f"`{step[0]}` is not installed; install it, or run without --commit") from None
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split()) or "it printed nothing"
            raise UserError(f"`{shlex.join(step)}` failed, nothing was changed: {said[-500:]}")


def _program(name: str) -> str:
    """DVC is in the environment's bin folder, which may not be on the PATH."""
    installed = Path(sys.executable).with_name(name)
    return str(installed) if installed.exists() else name


@contextmanager
def unstaged_on_error(steps: list[list[str]]) -> Iterator[None]:
    """On any failure, unstage what the `git add` among `steps` may have staged."""
    try:
        yield
    except BaseException:  # also when the user presses Ctrl-C
        for step in steps:
            if step[:2] == ["git", "add"]:
                subprocess.run(["git", "reset", "-q", "--", *step[2:]], capture_output=True, check=False)
        raise
