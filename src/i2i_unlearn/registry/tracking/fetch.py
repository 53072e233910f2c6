"""The model directory of a registered version."""

import re
import shutil
import tempfile
from pathlib import Path

from mlflow.exceptions import MlflowException

from i2i_unlearn.registry.tracking.connection import connect
from i2i_unlearn.registry.tracking.entities import MODEL_PATH, Version
from i2i_unlearn.registry.tracking.server import Server
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError

_GONE = re.compile(r"\b404\b|RESOURCE_DOES_NOT_EXIST|NoSuchKey|not found|no such (file|artifact)", re.IGNORECASE)
"""In MLflow's errors: what was asked for is not in the artifact store."""


def fetch_version(uri: str, out: str | Path) -> dict[str, str]:
    """Download the model directory of `models:/NAME/VERSION` to `out`, whole or not at all; return its tags.

    Raises:
        UserError: `uri` names no version (an alias does not: it may mean another one tomorrow), the version holds no
            model directory or other bytes than were registered, or MLflow cannot be reached.
    """
    name, _, number = uri.removeprefix("models:/").partition("/")
    if not uri.startswith("models:/") or not name or "@" in uri or not number.isdecimal():
        raise UserError(f"{uri}: names no version; write models:/NAME/NUMBER (an alias may mean another one tomorrow)")
    with connect() as server, tempfile.TemporaryDirectory() as folder:
        version = server.version(name, number)
        saved = download_checked(server, version, folder)
        with files.atomic_folder(out) as aside:
            shutil.copytree(saved / MODEL_PATH, aside, dirs_exist_ok=True)
    return dict(version.tags)


def fetch_if_there(server: Server, version: Version, out: str | Path) -> str:
    """Download a version's model directory to `out`; why nothing is there, where its files are gone or changed."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            saved = download_checked(server, version, folder)
        except UserError as error:
            return str(error)
        except MlflowException as error:
            if not re.search(
                r"\b404\b|RESOURCE_DOES_NOT_EXIST|NoSuchKey|not found|no such (file|artifact)", str(error), re.I
            ):
                raise
            return f"models:/{version.model_name}/{version.number}: its files are gone from MLflow's artifact store"
        shutil.copytree(saved / MODEL_PATH, out)
    return ""


def download_checked(server: Server, version: Version, folder: str | Path) -> Path:
    """Download all files of a version; its model directory, MODEL_PATH below what is returned, is the registered one.

    Raises:
        UserError: the version holds no model directory or other bytes than were registered.
    """
    uri = f"models:/{version.model_name}/{version.number}"
    saved = server.download(version, folder)
    expected = version.tags.get("model_sha256")
    if expected is None or not (saved / MODEL_PATH / "config.json").is_file():
        raise UserError(f"{uri}: holds no model directory of this program; register it with `i2i-unlearn register`")
    if files.digest_folder(saved / MODEL_PATH) != expected:
        raise UserError(f"{uri}: its bytes differ from what was registered ({expected[:12]}); register it again")
    return saved
