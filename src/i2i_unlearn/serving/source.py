"""The model that completes: a model directory, or a registered version with the settings it was registered with."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError

_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<number>\d+)|@(?P<alias>[\w.-]+))")
_HOW = ("operator", "keep_fraction", "operator_patch_size", "seed")


@dataclass(frozen=True)
class Source:
    """A model on this machine."""

    name: str
    """The directory, or models:/NAME/NUMBER: an alias is resolved only once."""
    directory: Path
    sha256: str
    """Digest of the directory."""
    how: Mapping[str, Any]
    """operator, keep_fraction, operator_patch_size and seed of a registered version; empty for a directory."""
    operators: str = ""
    """Those that its newest evaluation judged, NAME:KEEP_FRACTION each; empty where none is known."""


@contextmanager
def opened(model: str) -> Iterator[Source]:
    """Fetch the model that `model` names: DIR, models:/NAME/NUMBER or models:/NAME@ALIAS.

    Raises:
        UserError: there is no such model, its bytes are not those registered, or MLflow cannot be reached.
    """
    if not model.startswith("models:"):
        directory = Path(model)
        if not (directory / "config.json").is_file():
            raise UserError(
                f"{model}: not a model directory (no config.json in it); give one, or models:/NAME/NUMBER or"
                " models:/NAME@champion"
            )
        yield Source(model, directory, files.digest_folder(directory), {})
        return
    with TemporaryDirectory() as folder:
        yield _registered(model, Path(folder))


def _registered(model: str, folder: Path) -> Source:
    asked = _URI.fullmatch(model)
    if asked is None:
        raise UserError(f"{model}: does not name a version; write models:/NAME/NUMBER or models:/NAME@champion")
    from i2i_unlearn.registry import tracking

    name, alias = asked["name"], asked["alias"]
    with tracking.connect() as server:
        version = server.at_alias(name, alias) if alias else server.version(name, asked["number"])
        if version is None:
            raise UserError(f"{name} has no {alias}; promote a version, or write models:/{name}/NUMBER")
        saved = tracking.download_checked(server, version, folder)
    flavor = yaml.safe_load((saved / "MLmodel").read_text(encoding="utf-8"))["flavors"]["python_function"]
    how = {key: flavor["config"][key] for key in _HOW}
    uri = f"models:/{name}/{version.number}"
    return Source(
        uri, saved / tracking.MODEL_PATH, version.tags["model_sha256"], how, version.tags.get("operators", "")
    )
