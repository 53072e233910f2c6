"""Facts about a published checkpoint that its file does not contain: `snapshot.checkpoint`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from i2i_unlearn.support.errors import UserError


class Options(BaseModel):
    """Base of each format's options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str = ""
    """The key of the weights to take from a file that holds several, such as model_ema; empty = the model's own."""


Kind = TypeVar("Kind", bound=Options)


def read_options(kind: type[Kind], given: Mapping[str, Any], family: str) -> Kind:
    """Check the options of a format.

    Raises:
        UserError: one is not known or of the wrong kind.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(("snapshot.checkpoint", *map(str, fault["loc"])))
        names = ", ".join([*(name for name in kind.model_fields if name not in Options.model_fields), "weights"])
        raise UserError(f"{where}: {fault['msg']}; a {family} takes {names}") from None


def heads_of(path: Path, name: str, given: int | None, known: Mapping[int, int], width: int) -> int:
    """The number of attention heads, which no file tells: given, or that of a published width.

    Raises:
        UserError: neither, or it does not divide the width.
    """
    heads = given or known.get(width)
    if heads is None:
        raise UserError(
            f"{path}: its width {width} is not a published one, and the file does not say the number of heads;"
            f" give it: snapshot.checkpoint: {{{name}: NUMBER}}"
        )
    if width % heads:
        raise UserError(f"snapshot.checkpoint.{name}={heads} does not divide the width {width}; correct it")
    return heads
