"""A user's own class, named `module:Class`: imported only where the user names it, and checked before it is used.

To import a module is to run it. A model directory that names a class therefore decides nothing: `models.load_model`
compares that name with the one in params.yaml (key `model`) and imports what stands there.
"""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from i2i_unlearn.models.base import ImageToImage
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_files

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def import_own(name: str) -> Any:
    """The class called `name`, from the installed packages or the working directory.

    Raises:
        UserError: there is none, it cannot be imported, or it lacks something of models.base.ImageToImage (all that
            it lacks is listed).
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"model={name!r} does not name a class; write it as my_package.my_module:MyGenerator")
    module_name, _, class_name = name.partition(":")
    found = getattr(_import(module_name, name), class_name, None)
    if not inspect.isclass(found):
        raise UserError(f"model={name!r}: the module {module_name} has no class {class_name}; correct the name")
    faults = list(_lacks(found, name))
    if faults:
        raise UserError(f"model={name!r} does not meet i2i_unlearn.models.base.ImageToImage: {'; '.join(faults)}")
    return found


def _import(module_name: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:  # a console script does not have it; last, so that it hides no installed package
        sys.path.append(here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise UserError(
                f"model={name!r}: there is no module {error.name} among the installed packages or in {here}; "
                "run the command in the folder that contains it, or install it"
            ) from None
        raise UserError(f"model={name!r}: it needs the package {error.name}; install it") from None
    except Exception as error:  # whatever the user's code raises is the user's to read
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"model={name!r}: importing it failed ({what}); correct it") from error


def _lacks(found: type, name: str) -> Iterator[str]:
    """What a class lacks of the protocol; calls are compared by what our code passes."""
    if not issubclass(found, nn.Module):
        yield "it is not a torch.nn.Module"
    if getattr(found, "family", None) != name:
        yield f"family is {getattr(found, 'family', None)!r}, it must be {name!r}"
    for method, wanted in vars(ImageToImage).items():
        if method.startswith("_") or not (callable(wanted) or isinstance(wanted, classmethod)):
            continue
        if not callable(getattr(found, method, None)):
            yield f"{method} is missing"
            continue
        needs_class = isinstance(wanted, classmethod)
        if needs_class and not isinstance(inspect.getattr_static(found, method), classmethod | staticmethod):
            yield f"{method} is not a classmethod"
        elif (taken := _not_taken(getattr(found, method), getattr(ImageToImage, method))) is not None:
            yield f"{method} does not take ({taken})"


def _not_taken(method: Any, wanted: Any) -> str | None:
    """None if `method` can be called as `wanted` is, by position or by name as there; else that call's arguments."""
    parameters = inspect.signature(wanted).parameters.values()
    positional = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    named = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    try:
        inspect.signature(method).bind(*positional, **dict.fromkeys(named))
    except TypeError:
        words = [*(name for name in positional if name != "self"), *(f"{name}=..." for name in named)]
        return ", ".join(words)
    return None


def code_of(name: str) -> Path:
    """The code that is stored with a registered version: the class's top-level package, or its file if it has none.

    Raises:
        UserError: the class cannot be imported, or its code is not in files.
    """
    import_own(name)
    top = name.partition(":")[0].partition(".")[0]
    spec = importlib.util.find_spec(top)
    places = list(spec.submodule_search_locations or []) if spec else []
    if spec and not places and spec.origin:
        places = [spec.origin]
    if not places or not Path(places[0]).exists():
        raise UserError(f"model={name!r}: the code of {top} is not in files of its own; install it unpacked")
    return Path(places[0])


def code_digest(name: str) -> str:
    """sha256 over the Python files that belong to the class: a run never resumes from a checkpoint of other code."""
    code = code_of(name)
    return digest_files(sorted(code.rglob("*.py")) if code.is_dir() else [code], code.parent)
