"""What all settings share: one frozen model per stage, all faults in one error, the shared keys."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from i2i_unlearn.support.errors import UserError

SHARED_KEYS = (
    "seed",
    "num_threads",
    "device",
    "holdout_fraction",
    "operator",
    "keep_fraction",
    "operator_patch_size",
    "checkpoint_uri",
    "model",
)

Fraction = Annotated[float, Ge(0), Le(1)]
OpenFraction = Annotated[float, Gt(0), Lt(1)]
NonNegativeInt = Annotated[int, Ge(0)]
NonNegative = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]


def as_ids(value: Any) -> Any:
    """A run form sends a list of ids as one line: "digit-3, digit-5"; an empty line means no ids."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("is blank; write one")
    return value


Ids = Annotated[list[str], BeforeValidator(as_ids)]
Text = Annotated[str, AfterValidator(_not_blank)]
"""Not blank: an empty path would be the current folder."""
AtLeastOne = MinLen(1)


Size = bool | int | float | str


def _whole(value: Size) -> Size:
    """32.0 and "32" are the size 32: run forms send whole numbers as doubles or text."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def whole_numbers(content: Any) -> Any:
    """Numbers in nested data, whole ones as integers: what came through a pipeline has the digest of what did not."""
    if isinstance(content, dict):
        return {key: whole_numbers(value) for key, value in content.items()}
    if isinstance(content, list):
        return [whole_numbers(value) for value in content]
    return int(content) if isinstance(content, float) and content.is_integer() else content


WholeSize = Annotated[Size, AfterValidator(_whole)]
Sizes = dict[str, WholeSize | list[WholeSize]]


MOST_EXACT = 2**53
"""From here on a double, as which run forms send every number, does not tell neighbouring whole numbers apart."""
PLACEHOLDER = "{{$"
"""Begins what Kubeflow replaces by something else before a step sees it."""


class SettingsModel(BaseModel):
    """Frozen; takes nothing that another door would change or drop in silence.

    Refused wherever they are: unknown keys, NaN and infinity, true and false for a number, whole numbers from 2^53 on
    and text with `{{$`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _arrives_unchanged(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        item = get_args(annotation)[0] if get_origin(annotation) is list else annotation
        item = get_args(item)[0] if get_origin(item) is Annotated else item
        if item in (int, float) and any(isinstance(one, bool) for one in (value if type(value) is list else [value])):
            raise ValueError("expected a number, found true or false (YAML reads yes, no, on and off so)")
        for place, leaf in _leaves(value):
            if isinstance(leaf, str) and PLACEHOLDER in leaf:
                raise ValueError(f"{place}text with {PLACEHOLDER} is replaced by Kubeflow on the way; leave it out")
            if isinstance(leaf, float) and not math.isfinite(leaf):
                raise ValueError(f"{place}Input should be a finite number")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _is_exact(cls, value: Any) -> Any:
        for place, leaf in _leaves(value):
            if isinstance(leaf, float) and not math.isfinite(leaf):  # came as text: 1e999
                raise ValueError(f"{place}Input should be a finite number")
            if isinstance(leaf, int) and abs(leaf) >= MOST_EXACT:
                raise ValueError(
                    f"{place}whole numbers must be below 2^53 = {MOST_EXACT}; run forms change larger ones"
                )
        return value


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """What nested data holds, each with its place (`a.b: `); nothing of a model, which has looked itself."""
    if isinstance(value, Mapping | list):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _leaves(inner, f"{place.removesuffix(': ')}{'.' if place else ''}{key}: ")
    else:
        yield place, value


class StageConfig(SettingsModel):
    """Settings of a stage; unknown, missing and mistyped keys are one UserError that lists them all.

    Numbers may come as strings or doubles (run forms send them so): 150, 150.0 and "150.0" are the same.
    """

    section: ClassVar[str]
    shared_keys: ClassVar[tuple[str, ...]] = SHARED_KEYS
    """Keys that are taken from above the sections and that the section itself must not have."""
    not_in_digest: ClassVar[frozenset[str]] = frozenset({"checkpoint_uri"})
    """Fields that change where or how fast, never what."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UserError(*_all_faults(self.section, self.shared_keys, error)) from None

    @classmethod
    def from_params(cls, params: Mapping[str, Any], **more: Any) -> Self:
        """Build from the content of params.yaml: the section, the shared keys this class has, and `more`."""
        shared = {key: params[key] for key in cls.shared_keys if key in cls.model_fields and key in params}
        return cls._from_section(params, {**shared, **more})

    @classmethod
    def _from_section(cls, params: Mapping[str, Any], given: Mapping[str, Any]) -> Self:
        """Build from the section and from what is `given` outside it, which the section must not say again."""
        section = _section(params, cls.section)
        again = [key for key in section if key in given or key in cls.shared_keys]
        faults = [f"{cls.section}.{key} is set outside this section; remove it here" for key in again]
        try:
            config = cls(**{str(key): value for key, value in section.items() if key not in again}, **given)
        except UserError as error:
            raise UserError(*faults, *error.faults) from None
        if faults:
            raise UserError(*faults)
        return config

    def digest(self) -> str:
        """sha256 of everything that decides the result."""
        content = self.model_dump(mode="json", exclude=self._without_effect())
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _without_effect(self) -> set[str]:
        """Fields that decide nothing: what was made before they existed keeps its digest."""
        return set(self.not_in_digest)


def _section(params: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if name not in params:
        raise UserError(f"params.yaml has no section `{name}`; sections found: {', '.join(params)}; add `{name}`")
    section = params[name]
    if not isinstance(section, Mapping):
        told = f"params.yaml: section `{name}` must hold keys, found {section!r}"
        raise UserError(f"{told}; write one key per line below it")
    return section


def _all_faults(section: str, shared_keys: tuple[str, ...], error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        name = key if key in shared_keys else f"{section}.{key}"
        if fault["type"] == "missing":
            yield f"{name} is missing; add it"
        elif fault["type"] == "extra_forbidden":
            yield f"{name} is not a known key; remove it or correct its name"
        else:
            found = f"{name}={fault['input']!r}" if key else section
            hints = {"string_type": "; write it in quotes", "list_type": "; write a list, [] for none"}
            hint = hints.get(fault["type"], "")
            yield f"{found}: {fault['msg'].removeprefix('Value error, ')}{hint}"
