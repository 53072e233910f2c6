"""A digest of the code that decides a cell: the files reached by imports, without their comments and docstrings.

So after an edit of a README, a report or a docstring nothing is computed again, and after one of the engine
everything is.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import i2i_unlearn

PACKAGE = Path(i2i_unlearn.__file__).parent

PLUMBING = frozenset(
    {
        *(
            "config/base.py",
            "config/sections.py",
            "method/objectives/__init__.py",
            "models/__init__.py",
            "data/__init__.py",
        ),
        *(
            "support/errors.py",
            "support/files.py",
            "support/progress.py",
            "support/torchvision_compat.py",
            "__init__.py",
        ),
        *("training/checkpoints.py", "training/run.py", "training/saved_check.py", "data/split/manifest.py"),
        *("data/images/layout.py", "data/images/reading.py", "data/images/shards.py", "data/split/codes.py"),
        *("data/request.py", "evaluation/metrics/table.py", "evaluation/metrics/scores.py"),
    }
)
"""Decides no number of a cell: reads, tells, stores, names. Values of settings are in the key themselves."""


def code_digest(*roots: str, beside: Iterable[Path] = ()) -> str:
    """Digest of these files of the package (relative paths) and all they import in it; the order does not matter.

    `beside` are files outside the package, taken without what they import.
    """
    total = hashlib.sha256()
    for path in (*sorted(_reached([PACKAGE / root for root in roots])), *sorted(beside)):
        total.update(f"{path.name} {_meaning(path)}\n".encode())
    return total.hexdigest()


def file_of(dotted: str) -> str:
    """`i2i_unlearn.models.mae` -> "models/mae.py" (a package: its __init__.py)."""
    spec = importlib.util.find_spec(dotted)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(dotted)
    return Path(spec.origin).relative_to(PACKAGE).as_posix()


def _reached(todo: list[Path]) -> set[Path]:
    found: set[Path] = set()
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += [other for other in _imported(path) if other.relative_to(PACKAGE).as_posix() not in PLUMBING]
    return found


@cache
def _meaning(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _imported(path: Path) -> tuple[Path, ...]:
    return tuple(_files(_names(path)))


def _names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(names: Iterable[str]) -> Iterator[Path]:
    for name in names:
        first, *rest = name.split(".")
        if first == PACKAGE.name and rest:
            path = PACKAGE.joinpath(*rest)
            if path.with_suffix(".py").is_file():
                yield path.with_suffix(".py")
            elif (path / "__init__.py").is_file():
                yield path / "__init__.py"
