"""Checkpoints of unfinished runs: `<checkpoint_uri>/<digest of config and inputs>.safetensors`.

They are outside the outputs, because DVC may delete outputs before a stage and a retried pod starts empty. A
checkpoint is written whole or not at all: renamed into place on a file system, put in one request on an object store.
"""

import hashlib
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to resume: `read(write(c)) == c`."""

    step: int
    """Steps finished."""
    tensors: dict[str, Tensor]
    log: list[dict[str, Any]]
    memory: dict[str, float]
    seconds: float
    """Time spent on those steps, by all the runs that were interrupted."""


class Checkpoints:
    """The one checkpoint of a run; later ones replace earlier ones."""

    def __init__(self, uri: str, digest: str) -> None:
        try:
            self._fs, root = fsspec.core.url_to_fs(uri)
        except (ValueError, ImportError) as error:
            raise UserError(f"checkpoint_uri={uri!r}: {error}; give a folder or an fsspec URI") from None
        self._path = posixpath.join(root, f"{digest}.safetensors")

    def load(self) -> Checkpoint | None:
        """The checkpoint, or None if there is none.

        Raises:
            UserError: it is damaged.
        """
        self._remove_leftovers()
        if not self._fs.exists(self._path):
            return None
        try:
            content = self._fs.cat_file(self._path)
            tensors = load_tensors(content)
            facts = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            header = json.loads(facts["run"])
            if facts["sha256"] != _digest(tensors, facts["run"]):
                raise ValueError("it is not what was written")
        except (SafetensorError, ValueError, KeyError) as error:
            raise UserError(f"{self._path}: checkpoint is damaged ({error}); delete it to start again") from None
        return Checkpoint(header["step"], tensors, header["log"], header["memory"], header["seconds"])

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint."""
        header = {name: getattr(checkpoint, name) for name in ("step", "log", "memory", "seconds")}
        run = json.dumps(header)
        facts = {"run": run, "sha256": _digest(checkpoint.tensors, run)}
        content = save_tensors(checkpoint.tensors, metadata=facts)
        if "file" in _protocols(self._fs):
            with atomic_file(self._path) as aside:
                aside.write_bytes(content)
        else:
            self._fs.makedirs(posixpath.dirname(self._path), exist_ok=True)
            self._fs.pipe_file(self._path, content)

    def _remove_leftovers(self) -> None:
        """Remove the unfinished file of a run that was killed while it wrote the checkpoint."""
        if "file" in _protocols(self._fs):
            folder, name = posixpath.split(self._path)
            for left in Path(folder).glob(f".{name}.new.*"):
                left.unlink(missing_ok=True)

    def delete(self) -> None:
        """Remove it; the run is complete."""
        if self._fs.exists(self._path):
            self._fs.rm_file(self._path)


def _digest(tensors: Mapping[str, Tensor], run: str) -> str:
    """sha256 over the log and over names, kinds, shapes and bytes of all tensors: a resumed run begins with them."""
    total = hashlib.sha256(run.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
