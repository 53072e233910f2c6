"""From a cell of a foreign table to names: labels, persons, ids.

cell                                        becomes
null, NaN, blank text, -1 of class names    no name
list                                        a name for each entry
number with class names (Hugging Face)      the name; a number beyond them is refused
3.0                                         3; 3.5 is refused
bytes                                       text in UTF-8, else refused
struct, map                                 refused; a field of a struct can be named with a dot
"""

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from i2i_unlearn.data.images.layout import SourceSplit, composed
from i2i_unlearn.data.importers.source import split_of
from i2i_unlearn.support.errors import UserError


def names_in(value: Any, class_names: Sequence[str] | None, where: str, option: str) -> tuple[str, ...]:
    """The names in a cell, each once, in order; `where` is the row, `option` what names the column on the command line.

    Raises:
        UserError: the cell holds what is not a name.
    """
    if isinstance(value, list):
        return tuple(dict.fromkeys(name for one in value for name in names_in(one, class_names, where, option)))
    name = _name(value, class_names, where, option)
    return (composed(name),) if name.strip() else ()


def first_name(value: Any, where: str, option: str) -> str | None:
    """The one name in a cell; None if there is none.

    Raises:
        UserError: as `names_in`, or there are several.
    """
    names = names_in(value, None, where, option)
    if len(names) > 1:
        raise UserError(f"{where}: {option} holds {len(names)} values; it must be one")
    return names[0] if names else None


def split_in(value: Any, where: str) -> SourceSplit | None:
    """The split that a cell names; None if it is blank.

    Raises:
        UserError: it names something else.
    """
    name = first_name(value, where, "the source split")
    if name is None:
        return None
    split = split_of(name)
    if split is None:
        raise UserError(f"{where}: source split {name!r} is not known; it is one of train, val, test, unknown")
    return split


def cell_at(values: Any, path: str) -> Any:
    """The cell of a column, or of a field `column.field` of structs; lists are gone through."""
    if isinstance(values, dict) and path in values:
        return values[path]
    head, _, rest = path.partition(".")
    if isinstance(values, list):
        return [cell_at(one, path) for one in values]
    inner = values.get(head) if isinstance(values, dict) else None
    return inner if inner is None or not rest else cell_at(inner, rest)


def fields_in(values: Any, above: str = "") -> Iterator[str]:
    """Every column of a row and every field of structs in it, as `cell_at` takes them; names may repeat."""
    if isinstance(values, list):
        for one in values:
            yield from fields_in(one, above)
    elif isinstance(values, dict):
        for key, inner in values.items():
            yield f"{above}{key}"
            yield from fields_in(inner, f"{above}{key}.")


def _name(value: Any, class_names: Sequence[str] | None, where: str, option: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise UserError(f"{where}: {option} holds bytes that are not text in UTF-8; write names there") from None
    if isinstance(value, tuple):
        raise UserError(f"{where}: {option} holds a map; name a column of names")
    if isinstance(value, dict):
        fields = ", ".join(f"NAME.{key}" for key in value)
        raise UserError(f"{where}: {option} holds structs; name the field that is meant as one of {fields}")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return str(value)
    if math.isnan(value):
        return ""
    if math.isinf(value) or value != math.floor(value):
        raise UserError(f"{where}: {option} holds the number {value}, which is not whole; name a column of names")
    number = int(value)
    if class_names is None:
        return str(number)
    if number == -1:  # Hugging Face's word for "none", as in test sets
        return ""
    if not 0 <= number < len(class_names):
        raise UserError(
            f"{where}: {option} holds the number {number}, but the file names only {len(class_names)} classes; correct"
            " the file"
        )
    return class_names[number]
