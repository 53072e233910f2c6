"""Command lines that tests run."""

import os
import subprocess
import sys
from pathlib import Path

import typer
from typer.testing import CliRunner


def lines_of(app: typer.Typer, *words: str) -> list[str]:
    """What a command prints. Its error is raised."""
    result = CliRunner().invoke(app, words)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def dvc(folder: Path, *words: str) -> str:
    """What DVC prints in `folder`."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / ".site")}
    command = [sys.executable, "-m", "dvc", *words]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
