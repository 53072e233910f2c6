"""Forget requests: who asked when for which images to be forgotten, one YAML file each under data/forget/.

No run changes a request file: its state follows from params.yaml and the registry.
"""

import calendar
import datetime
import difflib
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PrivateAttr, StringConstraints, ValidationError, model_validator

from i2i_unlearn.data.images.layout import composed
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file
from i2i_unlearn.support.yaml_file import read_mapping

if TYPE_CHECKING:  # reading a request does not need it, and importing it takes longer than all else
    import pandas as pd

NearDuplicates = Literal["include", "drop", "keep"]
"""What becomes of near-copies of the images that a request selects (split/near_copy_rules.py)."""
RequestId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
_SEARCHED = 20_000
"""Names that a misspelt one is compared with: a second of time."""


class Selector(BaseModel):
    """Which images are meant: those that any of the entries selects."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    labels: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    sample_ids: tuple[str, ...] = ()
    ids_file: str = ""
    """Name of a text file next to the request: one sample id per line."""
    _ids_in_file: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        if not (self.labels or self.subjects or self.sample_ids or self.ids_file):
            raise ValueError("give at least one of labels, subjects, sample_ids, ids_file")
        if PurePath(self.ids_file).name != self.ids_file:
            raise ValueError(f"ids_file {self.ids_file!r} must be the name of a file next to the request")
        return self

    def wanted(self) -> dict[str, tuple[str, ...]]:
        """Values wanted, by column of the images' index."""
        return {
            "label": self.labels,
            "subject": self.subjects,
            "sample_id": (*self.sample_ids, *self._ids_in_file),
        }


class Pause(BaseModel):
    """Days on which the clock is stopped, for example while the person's identity is checked."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    since: datetime.date
    until: datetime.date | None = None
    """First day on which the clock runs again; null = it is still stopped."""
    reason: Annotated[str, StringConstraints(min_length=1)]

    @model_validator(mode="after")
    def _ends_after_it_began(self) -> Self:
        if self.until is not None and self.until <= self.since:
            raise ValueError(f"until {self.until} must be after since {self.since}")
        return self


class ForgetRequest(BaseModel):
    """One request to forget images."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Literal[1] = 1
    id: RequestId
    received: datetime.date
    due: datetime.date
    """Last day to comply: at most one month after `received`, later only with `extension_reason`."""
    extension_reason: str = ""
    basis: str
    """Why the images must be forgotten, in the officer's words."""
    selector: Selector
    near_duplicates: NearDuplicates = "keep"
    paused: tuple[Pause, ...] = ()
    """In order of time, without overlap; they move the deadline, not `due`."""
    note: str = ""

    def paused_days(self, today: datetime.date) -> int:
        """Days until `today` on which the clock was stopped."""
        ends = ((pause, min(pause.until or today, today)) for pause in self.paused)
        return sum(max((end - pause.since).days, 0) for pause, end in ends)

    def last_day(self, today: datetime.date) -> datetime.date:
        """`due`, moved by the days until `today` on which the clock was stopped."""
        return self.due + datetime.timedelta(days=self.paused_days(today))

    def is_late(self, today: datetime.date) -> bool:
        """Whether the last day is past: the one rule behind every "overdue" and "expired"."""
        return today > self.last_day(today)

    def is_paused(self, today: datetime.date) -> bool:
        """Whether the clock is stopped on this day."""
        return any(pause.since <= today and (pause.until is None or today < pause.until) for pause in self.paused)

    @model_validator(mode="after")
    def _pauses_are_in_order(self) -> Self:
        begin = self.received
        for number, pause in enumerate(self.paused, start=1):
            if pause.since < begin:
                raise ValueError(f"pause {number} begins on {pause.since}, before {begin}")
            if pause.until is None and number < len(self.paused):
                raise ValueError(f"pause {number} has no end, but another follows")
            begin = pause.until or pause.since
        return self

    @model_validator(mode="after")
    def _due_is_lawful(self) -> Self:
        if self.due < self.received:
            raise ValueError(f"due {self.due} is before received {self.received}")
        if self.due > one_month_after(self.received) and not self.extension_reason:
            raise ValueError(f"due {self.due} is later than one month after {self.received}; give extension_reason")
        return self


def make_request(**values: Any) -> ForgetRequest:
    """A request from its entries.

    Raises:
        UserError: values are missing, unknown or wrong (all are listed).
    """
    return _validated("forget request", values)


def _validated(where: str | Path, values: Any) -> ForgetRequest:
    try:
        return ForgetRequest.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {'; '.join(_faults(error))}") from None


def one_month_after(day: datetime.date) -> datetime.date:
    """The same day of the next month, or that month's last day where it is shorter."""
    year, month = day.year + day.month // 12, day.month % 12 + 1
    return day.replace(year=year, month=month, day=min(day.day, calendar.monthrange(year, month)[1]))


def read_request(path: str | Path) -> ForgetRequest:
    """Read a request and its ids file; `read(write(r)) == r`.

    Raises:
        UserError: a file is missing, not YAML, or has unknown, missing or wrong entries (all are listed).
    """
    path = Path(path)
    missing = "no such forget request; file it with `i2i-unlearn request add`"
    content = read_mapping(path, missing=missing, holds="the keys of a forget request")
    request = _validated(path, content)
    if request.id != path.stem:
        raise UserError(f"{path}: holds the request {request.id!r}; the file must be named {request.id}.yaml")
    if request.selector.ids_file:
        return with_ids(request, read_ids(path.with_name(request.selector.ids_file)))
    return request


def _faults(error: ValidationError) -> list[str]:
    words = {"missing": "is missing; add it", "extra_forbidden": "is not a known key; remove it or correct its name"}
    faults = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        text = words.get(fault["type"], f"{fault['msg'].removeprefix('Value error, ')}")
        hint = ", write it in quotes" if fault["type"] == "string_type" else ""
        faults.append(f"{key} {text}{hint}".strip())
    return faults


def with_ids(request: ForgetRequest, ids: tuple[str, ...]) -> ForgetRequest:
    """The request with the content of its ids file."""
    selector = request.selector.model_copy()
    selector._ids_in_file = ids
    return request.model_copy(update={"selector": selector})


def read_ids(path: Path) -> tuple[str, ...]:
    """Sample ids of a text file, one per line; empty lines do not count.

    Raises:
        UserError: the file is missing, not text, or holds no id.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # `splitlines` also splits at U+2028
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: the ids file cannot be read ({error}); it must be a text file with one id per line"
        ) from None
    ids = tuple(line.strip() for line in lines if line.strip())
    if not ids:
        raise UserError(f"{path}: the ids file holds no sample id; write one id per line")
    return ids


def read_requests(folder: str | Path) -> dict[str, ForgetRequest]:
    """All requests of a folder by id, sorted.

    Raises:
        UserError: one of them is wrong.
    """
    return {path.stem: read_request(path) for path in sorted(Path(folder).glob("*.yaml"))}


def read_named_requests(
    folder: str | Path, requests: Sequence[str], erased: Sequence[str]
) -> tuple[list[ForgetRequest], list[ForgetRequest]]:
    """The active and the erased requests that params.yaml names, each sorted by id.

    Raises:
        UserError: none is active, an id is in both lists, or a request is missing or wrong.
    """
    if not requests:
        raise UserError(
            "split.requests is empty, there is nothing to forget; file a request with `i2i-unlearn request add`"
        )
    both = sorted(set(requests) & set(erased))
    if both:
        raise UserError(f"split.requests and split.erased both name {', '.join(both)}; keep each id in one of them")
    active, gone = (
        [read_request(Path(folder) / f"{id_}.yaml") for id_ in sorted(set(ids))] for ids in (requests, erased)
    )
    return active, gone


def write_request(request: ForgetRequest, path: str | Path) -> None:
    """Write `request`, whole or not at all; equal requests give equal bytes.

    Raises:
        UserError: the file exists; a request is never overwritten.
    """
    path = Path(path)
    if path.exists():
        raise UserError(f"{path}: this request already exists and is kept; choose another id")
    with atomic_file(path) as aside:
        aside.write_bytes(request_bytes(request))


def request_bytes(request: ForgetRequest) -> bytes:
    """The YAML of a request, without entries that have their default value."""
    content = {"schema_version": request.schema_version, **request.model_dump(exclude_defaults=True)}
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=4096)
    return text.encode()


def select(
    request: ForgetRequest, index: "pd.DataFrame", *, strict: bool = True, quote: bool = False
) -> NDArray[np.bool_]:
    """True for each image of `index` (columns label, subject, sample_id) that the request selects.

    Names are compared in Unicode's composed form: Macs write an accent as a character of its own, others do not.

    `strict`: every entry of the selector must match an image. False for fulfilled requests, whose images may have left
    the data since.

    Raises:
        UserError: an entry matches no image. Of subjects and ids, only `quote` puts the entry into the message, which
            a cluster's log shows otherwise.
    """
    selected = np.zeros(len(index), dtype=bool)
    for column, values in request.selector.wanted().items():
        if not values:
            continue
        held = named(index, column)
        wanted = {composed(value): value for value in values}
        match = held.isin(list(wanted))
        selected[held.index[match]] = True
        found = set(held[match])
        missing = [value for name, value in wanted.items() if name not in found]
        if missing and strict:
            raise UserError(f"forget request {request.id!r}: {_no_match(column, missing, values, held, quote)}")
    return selected


def named(index: "pd.DataFrame", column: str) -> "pd.Series[str]":
    """The names of a column of `index`, composed; the series' index is the place of the image, from 0.

    An image with several labels or persons is there once for each.
    """
    import pandas as pd

    more = f"more_{column}s"
    all_names = [index[column], index[more].explode()] if more in index.columns else [index[column]]
    places = pd.Series(np.arange(len(index)), index=index.index)
    names: pd.Series[str] = pd.concat([names.set_axis(places[names.index]) for names in all_names]).dropna()
    return names if all(map(str.isascii, names)) else names.map(composed)


def _no_match(column: str, missing: list[str], values: tuple[str, ...], held: "pd.Series[str]", quote: bool) -> str:
    if column == "label":
        found = sorted(set(held))
        more = ", ..." if len(found) > 20 else ""
        return f"label {missing[0]!r} matches no image; labels found: {', '.join(found[:20])}{more}"
    first = values.index(missing[0]) + 1
    entry, close = "entry", ""
    if quote:
        entry = f"{missing[0]!r}, entry"
        near = difflib.get_close_matches(composed(missing[0]), held.unique()[:_SEARCHED].tolist(), n=1)
        close = f" (did you mean {near[0]!r}?)" if near else ""
    return (
        f"{len(missing)} of {len(values)} {column.replace('_', ' ')}s match no image (the first is {entry} {first});"
        f" correct the selector{close}; `i2i-unlearn data list` lists what there is"
    )
