"""Writes a model in the format of the published file that it was made from.

The published file itself is the template: its names, their order, the kinds of number, the key that wraps the weights,
and the tensors that no computation uses. Every other tensor is the model's; no optimizer, setting or second network of
the template goes into the new file.

The format is that of torch.save, which the original implementations read: a zip archive with a pickled dict. Only
tensors in plain dicts are written, so `torch.load(..., weights_only=True)` reads it and nothing in it can run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i_unlearn.models.published import SUFFIXES, format_of
from i2i_unlearn.models.published.reading import Content, read_checkpoint
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file


@dataclass(frozen=True)
class Exported:
    """What was written."""

    format: str
    num_tensors: int
    num_changed: int
    """Tensors that differ from the template's."""


def write_original(model: Any, folder: Path, like: Path, out: Path, weights: str = "") -> Exported:
    """Write `model`, loaded from `folder`, to the file `out` in the layout of the file `like`.

    `weights` is the key of the weights in `like` that the model was made from, where that holds several.
    Read again by `convert_checkpoint`, it is the same model; a model that was never trained gives the tensors of
    `like` bit for bit.

    Raises:
        UserError: the model was not made from a file like that, or the file's numbers are too short for what changed.
    """
    if not out.name.endswith(SUFFIXES):
        raise UserError(f"{out}: the name must end in {', '.join(SUFFIXES)}; choose another one")
    if out.resolve() == like.resolve():
        raise UserError(f"{out}: is the original file, which stays as it is; choose another name")
    content = read_checkpoint(like, weights)
    name, module = _format(model, folder, content)
    _check_architecture(model, folder, content, module)
    ours = module.original_tensors(model)
    written = _weights(content, ours, module.LEFT_OUT)
    num_changed = _count_changed(content, ours, written)
    named = {content.prefix + name: tensor for name, tensor in written.items()}
    with atomic_file(out) as aside, aside.open("wb") as file:
        torch.save({content.wrapper: named} if content.wrapper else named, file)
    return Exported(name, len(named), num_changed)


def _format(model: Any, folder: Path, content: Content) -> tuple[str, Any]:
    name, module = format_of(content)
    if model.family != module.FAMILY:
        raise UserError(
            f"{folder}: is of the family {model.family}, and {content.path} is a file of {name} "
            f"(family {module.FAMILY}); give the file that the model was made from with --like"
        )
    return name, module


def _check_architecture(model: Any, folder: Path, content: Content, module: Any) -> None:
    """The file, read as this model, must give the same architecture."""
    try:
        options = module.options_of(model)
        made, _ = module.convert(_with_own(content, module, model), options)
    except UserError as error:
        raise UserError(
            f"{folder}: was not made from a file like {content.path} ({error}); give the file that it was "
            "made from with --like"
        ) from None
    ours, theirs = module.description_of(model), module.description_of(made)
    for key in ours:
        if ours[key] != theirs.get(key):
            raise UserError(
                f"{folder}: was not made from a file like {content.path}: {key} is {ours[key]}, and {theirs.get(key)} "
                "by the file; give the file that it was made from with --like"
            )


def _with_own(content: Content, module: Any, model: Any) -> Content:
    """What the file leaves to another one (a tokenizer) is the model's."""
    prefix = module.IN_ANOTHER_FILE
    if not prefix or any(name.startswith(prefix) for name in content.tensors):
        return content
    more = {name: tensor for name, tensor in module.original_tensors(model).items() if name.startswith(prefix)}
    return replace(content, tensors={**content.tensors, **more})


def _weights(content: Content, ours: Mapping[str, Tensor], left_out: str) -> dict[str, Tensor]:
    """The file's names in their order, each with the model's tensor where that one changed."""
    kept = {name: old for name, old in content.tensors.items() if not left_out or not name.startswith(left_out)}
    changed = {name: ours[name] for name, old in kept.items() if name in ours and not ours[name].equal(old.float())}
    return {
        name: changed.get(name, old).detach().to(old.dtype).clone(memory_format=torch.contiguous_format)
        for name, old in kept.items()
    }


def _count_changed(content: Content, ours: Mapping[str, Tensor], written: Mapping[str, Tensor]) -> int:
    """How many tensors differ from the file's.

    Raises:
        UserError: one that differs in the model would not in the file, whose numbers are shorter.
    """
    changed = [name for name in written if name in ours and not ours[name].equal(content.tensors[name].float())]
    lost = [name for name in changed if written[name].equal(content.tensors[name])]
    if lost:
        raise UserError(
            f"{content.path}: stores {lost[0]} as {written[lost[0]].dtype}, too short for the changes that "
            f"unlearning made in {len(lost)} of {len(changed)} tensors, which would be lost; give a float32 file"
        )
    return len(changed)
