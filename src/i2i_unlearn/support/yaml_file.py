"""Reading the files that people write: YAML with keys. Apart from files.py, which works where PyYAML is missing."""

from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from i2i_unlearn.support.errors import UserError


def read_mapping(path: str | Path, *, missing: str, holds: str) -> dict[str, Any]:
    """Read a YAML file of keys. `missing`: what to say where it does not exist; `holds`: what kind of keys it has.

    Raises:
        UserError: the file is missing, is not YAML, or holds something else than keys.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: {missing}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())}); correct that line") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold {holds}, found {type(content).__name__}; correct the file")
    return content


def in_quotes(value: Any) -> Any:
    """`value` for ruamel to write: text that PyYAML would take for something else (no, on, 12) gets quotes."""
    if isinstance(value, dict):
        return {key: in_quotes(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [in_quotes(inner) for inner in value]
    try:
        is_text = not isinstance(value, str) or yaml.safe_load(value) == value
    except yaml.YAMLError:  # ruamel puts it into quotes itself
        is_text = True
    return value if is_text else DoubleQuotedScalarString(value)
