"""Imports foreign images into shards, streaming: one row group is in memory, however many images there are.

Every image is decoded once. Each one that cannot be decoded is reported in one line; the import then fails, or, with
`skip_broken`, continues without it.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypedDict

from pydantic import ValidationError

from i2i_unlearn.config.presets import Preset
from i2i_unlearn.data.forgotten import read_forgotten
from i2i_unlearn.data.images.decoding import BY_DEFAULT, Depths, Reading, open_image
from i2i_unlearn.data.images.layout import SourceSplit
from i2i_unlearn.data.images.shards import Record, Written, write_shards
from i2i_unlearn.data.importers.columns import Columns
from i2i_unlearn.data.importers.folder import check_container, is_picture, look_at_folder, look_at_list
from i2i_unlearn.data.importers.parquet import (
    begins_as_parquet,
    holds_images,
    is_parquet,
    look_at_parquet,
    visible_parquet,
)
from i2i_unlearn.data.importers.places365 import CATEGORIES, is_places365, look_at_places365
from i2i_unlearn.data.importers.published_experiment import Chosen, Protocol, choose
from i2i_unlearn.data.importers.source import SPLIT_WORDS, Candidate, Source, Taken, split_of, taken
from i2i_unlearn.data.importers.tables import ENDINGS
from i2i_unlearn.data.split.codes import load_key
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file
from i2i_unlearn.support.progress import progress

Layout = Literal["auto", "folder", "parquet", "places365"]
_SHARD_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")  # also part of search patterns: no wildcards


@dataclass(frozen=True)
class Imported:
    """What `import_images` did."""

    written: Written
    num_broken: int
    num_forgotten: int = 0
    """Left out with `skip_forgotten`."""
    warning: str = ""
    """A line on images that become dark; empty if there is none."""


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """How to read the source."""

    name: str = ""
    """Name of the shard; empty = the source's name."""
    layout: Layout = "auto"
    """auto: a folder with the lists of Places-365 is `places365`, one with Parquet files of images and no pictures, or
    a Parquet file, is `parquet`, any other folder is `folder`, and a table (CSV, JSON lines) lists files."""
    source_split: str = ""
    """Overrides the source's own; empty = as the source says."""
    columns: Columns = field(default_factory=Columns)
    skip_broken: bool = False
    skip_forgotten: bool = False
    """Leave out images that a promoted model has forgotten, instead of refusing the source."""
    reading: Reading = BY_DEFAULT
    """How the files become pixels; the shards keep it."""
    only: frozenset[str] | None = None
    """Sample ids to take; None = all."""


def import_images(
    source: str | Path,
    out: str | Path,
    settings: ImportSettings,
    *,
    tell: Callable[[str], None],
    look: Callable[[str], None] = lambda _: None,
) -> Imported:
    """Write the images of `source` to `out`/images/NAME.parquet.

    `look` gets the lines of `looked_at` before anything is read; `tell` gets one line for every broken image.

    Raises:
        UserError: the name is not allowed, the source is missing or of another layout, an image is broken (unless
            `skip_broken`) or was forgotten (unless `skip_forgotten`; data/forgotten.py), a sample id occurs twice, or
            the shard exists with other content. Then nothing is written.
    """
    source = Path(source)
    name, opened, found = _look(source, settings)
    reading = _reading(opened, settings)
    for line in _lines(source, opened, found):
        look(line)
    candidates = opened.candidates()
    if settings.only is not None:
        only = settings.only
        candidates = (candidate for candidate in candidates if candidate.sample_id in only)
    broken: list[str] = []
    depths = Depths()
    with progress(f"import {name}", found.num_images) as advance:
        records = _whole_ones(candidates, broken, tell, advance, reading, depths)
        if not settings.skip_broken:
            records = _fail_if_broken(records, broken)
        came_back: list[str] = []
        records = _without_forgotten(records, came_back, Path(out) / "forget", skip=settings.skip_forgotten)
        written = write_shards(records, Path(out) / "images", name, reading, several=found.has_several)
    return Imported(written, len(broken), len(came_back), depths.warning(reading))


def looked_at(source: str | Path, settings: ImportSettings) -> list[str]:
    """What an import would take for classes, splits and persons, with counts, and what it would not use: lines.

    Raises:
        UserError: as `import_images`, but no image is opened.
    """
    source = Path(source)
    _, opened, found = _look(source, settings)
    _reading(opened, settings)
    return _lines(source, opened, found)


def _look(source: Path, settings: ImportSettings) -> tuple[str, Source, Taken]:
    """The shard's name, the source, and what it holds."""
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; give the folder or Parquet file of the images")
    name = settings.name or source.resolve().stem
    if not _SHARD_NAME.fullmatch(name):
        raise UserError(
            f"shard name {name!r} is not allowed: letters a-z A-Z, digits, '_', '-' and '.', which it must not begin"
            " with; choose one with --name"
        )
    opened = open_source(source, name, settings)
    only = settings.only
    if only is None:
        return name, opened, opened.found or taken(opened.described())
    return name, opened, taken(one for one in opened.described() if one.sample_id in only)


def _reading(opened: Source, settings: ImportSettings) -> Reading:
    """As the settings say, else as the shards that are imported do."""
    if settings.reading != BY_DEFAULT or not opened.readings:
        return settings.reading
    (first, path), *others = opened.readings.items()
    if others:
        raise UserError(
            f"{path} and {others[0][1]}: say differently how files become pixels (section `images` of params.yaml, kept"
            " in shards); import each on its own"
        )
    return first


def _lines(source: Path, opened: Source, found: Taken) -> list[str]:
    hint = []
    if set(found.splits) == {"unknown"} and split_of(source.resolve().stem) is not None:
        hint = [f"the name {source.resolve().name} looks like a split's, but a source's own name says nothing"]
    return [f"{source}: {opened.kind}, {found.num_images} images", *found.lines(), *hint, *opened.notes]


def import_protocol(
    source: str | Path, out: str | Path, preset: Preset, settings: ImportSettings, *, tell: Callable[[str], None]
) -> tuple[Chosen, Imported]:
    """Import the classes and images that the preset's protocol takes, and list the labels to forget.

    Raises:
        UserError: as `import_images`; or the preset has no protocol, or the source has too few classes for it.
    """
    protocol = _protocol(preset)
    source = Path(source)
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; give the whole set as it was published")
    settings = replace(settings, name=settings.name or source.resolve().stem)
    chosen = choose(open_source(source, settings.name, settings).described, protocol, str(source))
    imported = import_images(source, out, replace(settings, only=chosen.ids), tell=tell)
    with atomic_file(Path(out) / f"{preset.name}.forget.txt") as aside:
        aside.write_text("".join(f"{label}\n" for label in chosen.forget), encoding="utf-8")
    return chosen, imported


def _protocol(preset: Preset) -> Protocol:
    if preset.protocol is None:
        raise UserError(
            f"preset {preset.name!r} has no protocol, since it repeats no published experiment; choose another"
        )
    try:
        return Protocol.model_validate(preset.protocol)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(("protocol", *map(str, fault["loc"])))
        raise UserError(f"preset {preset.name!r}, {where}: {fault['msg']}; correct it") from None


def open_source(source: Path, name: str, settings: ImportSettings) -> Source:
    """The images of a source, not yet read.

    Raises:
        UserError: it has another layout.
    """
    split = _source_split(settings.source_split)
    given: _Given = {"name": name, "source_split": split}
    if settings.layout == "places365" or (settings.layout == "auto" and is_places365(source)):
        if not is_places365(source):
            raise UserError(f"{source}: has no {CATEGORIES}; give the folder that holds the file lists of Places-365")
        return look_at_places365(source, **given)
    if source.is_file():
        return _open_file(source, settings, given)
    tables = visible_parquet(source) if settings.layout != "folder" else []
    tables = [path for path in tables if path.name.lower() != "metadata.parquet"]
    if settings.layout == "auto" and tables:
        pictures = _picture_below(source)
        with_images = [path for path in tables if holds_images(path, settings.columns)]
        if pictures and with_images:
            raise UserError(
                f"{source}: holds pictures ({pictures}) and Parquet files with images ({with_images[0]}); say which are"
                " meant with --layout folder or --layout parquet, or move the others away"
            )
        tables = [] if pictures else tables
    if settings.layout == "parquet" or tables:
        return look_at_parquet(source, **given, columns=settings.columns)
    return look_at_folder(source, **given, columns=settings.columns)


class _Given(TypedDict):
    name: str
    source_split: SourceSplit | None


def _open_file(source: Path, settings: ImportSettings, given: _Given) -> Source:
    if settings.layout == "folder":
        raise UserError(f"{source}: is a file; the layout `folder` needs a folder with one folder per class")
    ending = source.suffix.lower()
    if ending in ENDINGS:
        return look_at_list(source, **given, columns=settings.columns)
    check_container(str(source))
    if is_picture(source.name):
        raise UserError(f"{source}: is a picture; give the folder that holds the pictures")
    if not (is_parquet(source) or begins_as_parquet(source)):
        raise UserError(f"{source}: is no Parquet file and no table ({', '.join(ENDINGS)}); give one, or a folder")
    return look_at_parquet(source, **given, columns=settings.columns)


def _picture_below(source: Path) -> Path | None:
    """A picture that is not hidden, if there is one."""
    for folder, folders, files in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if is_picture(name) and not name.startswith("."):
                return Path(folder, name)
    return None


def _source_split(word: str) -> SourceSplit | None:
    if word and word not in SPLIT_WORDS:
        raise UserError(f"source split {word!r} is not known; choose one of: {', '.join(SPLIT_WORDS)}")
    return SPLIT_WORDS[word] if word else None


def _whole_ones(
    candidates: Iterator[Candidate],
    broken: list[str],
    tell: Callable[[str], None],
    advance: Callable[[], None],
    reading: Reading,
    depths: Depths,
) -> Iterator[Record]:
    """The images that can be decoded; `broken` gets the places of the others."""
    for candidate in candidates:
        advance()
        try:
            encoded = candidate.read()
            open_image(encoded, name=candidate.where, reading=reading, depths=depths)
            (candidate.sample_id + candidate.label).encode()  # a file name may not be text
        except (OSError, ValueError, UserError) as error:
            broken.append(candidate.where)
            tell(str(error) if isinstance(error, UserError) else f"{candidate.where}: cannot be read ({error})")
        else:
            yield Record(
                candidate.sample_id,
                candidate.label,
                encoded,
                candidate.subject,
                candidate.source_split,
                candidate.more_labels,
                candidate.more_subjects,
            )


def _fail_if_broken(records: Iterator[Record], broken: list[str]) -> Iterator[Record]:
    """Read all images first, so that one run reports every broken one."""
    yield from records
    if broken:
        raise UserError(
            f"{len(broken)} images are broken (the first: {broken[0]}); repair or remove them, or import the"
            " others with --skip-broken"
        )


def _without_forgotten(
    records: Iterator[Record], came_back: list[str], requests: Path, *, skip: bool
) -> Iterator[Record]:
    """The images that are not in the list of the forgotten; `came_back` gets the sample ids of the others."""
    listed = read_forgotten(requests)
    if not listed.requests:
        yield from records
        return
    key, asked = load_key(), set[str]()
    for record in records:
        (ids,) = listed.look_up(key, [hashlib.sha256(record.image).hexdigest()])
        if ids:
            came_back.append(record.sample_id)
            asked |= ids
        else:
            yield record
    if came_back and not skip:
        raise UserError(
            f"{len(came_back)} images were forgotten before, for {', '.join(sorted(asked))} (the first:"
            f" {came_back[0]}); {listed.path} knows their bytes, whatever they are called now; remove them from the"
            " source, or import the others with --skip-forgotten"
        )
