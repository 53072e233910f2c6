"""What a reader of a foreign layout yields to the importer, and the names that such layouts use for their splits."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from i2i_unlearn.data.images.decoding import Reading
from i2i_unlearn.data.images.layout import SourceSplit

# What is not trained on by convention is held out.
SPLIT_WORDS: dict[str, SourceSplit] = {
    "train": "train",
    "training": "train",
    "trainset": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "valset": "val",
    "dev": "val",
    "test": "val",
    "testing": "val",
    "testset": "val",
    "eval": "val",
    "evaluation": "val",
    "holdout": "val",
    "heldout": "val",
    "unknown": "unknown",
}
_FILLERS = frozenset({"set", "data", "image", "images", "img", "imgs", "photos", "pictures", "split"})
UNLABELLED = "unlabelled"
SHOWN = 20
"""Names that a line of what was taken shows."""


def split_of(name: str) -> SourceSplit | None:
    """The split that a folder's or a cell's name means, whatever its case, year or filler words; None = none.

    Training, val2017, test-images, held_out are known; `testimony`, `test tube` and `2017` are not splits.
    """
    words = re.findall(r"[^\W\d_]+", unicodedata.normalize("NFKC", name).casefold())
    return SPLIT_WORDS.get("".join(word for word in words if word not in _FILLERS))


def is_filler(name: str) -> bool:
    """Whether a folder's name says only that images are in it: images, data, photos."""
    return name.casefold() in _FILLERS | {"dataset"}


class Candidate(NamedTuple):
    """An image that may turn out to be broken."""

    where: str
    """File, or table and row: for messages to the person who imports."""
    sample_id: str
    label: str
    source_split: SourceSplit
    read: Callable[[], bytes]
    """Raises OSError or ValueError if there are no bytes."""
    subject: str | None = None
    more_labels: tuple[str, ...] = ()
    """Those of an image with several, after the first."""
    more_subjects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A source that was looked at. What it holds can be asked for again and again, in the same order."""

    kind: str
    """How it is laid out, in words."""
    candidates: Callable[[], Iterator[Candidate]]
    described: Callable[[], Iterator[Candidate]]
    """As `candidates`, but fast, and without a `read` that works."""
    notes: tuple[str, ...] = ()
    """What is not used, and what was assumed: a line each."""
    found: "Taken | None" = None
    """What `taken(described())` returns, where looking at the source has told it already."""
    readings: Mapping[Reading, str] = field(default_factory=dict)
    """How the images of our own shards become pixels -> the first file that says so."""


@dataclass
class Taken:
    """What an import takes for classes, splits and persons."""

    num_images: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    subjects: Counter[str] = field(default_factory=Counter)
    has_several: bool = False
    """Whether an image has several labels or persons."""

    def lines(self) -> list[str]:
        """For the person who imports, with counts."""
        unlabelled = self.labels[UNLABELLED]
        named = {label: count for label, count in self.labels.items() if label != UNLABELLED}
        without = f"; {unlabelled} images without a class" if unlabelled else ""
        unknown = self.splits.get("unknown", 0)
        drawn = " (holdout_fraction draws which were not trained on; --source-split, if you know)" if unknown else ""
        several = "; some images have several classes or persons" if self.has_several else ""
        return [
            f"classes: {len(named) or 'none'}{_counted(named)}{without}{several}",
            f"splits: {', '.join(f'{split} {count}' for split, count in sorted(self.splits.items()))}{drawn}",
            f"persons: {len(self.subjects) or 'none'}{_counted(self.subjects)}",
        ]


def taken(candidates: Iterable[Candidate]) -> Taken:
    """Count what the candidates are taken for."""
    found = Taken()
    for one in candidates:
        found.num_images += 1
        found.labels[one.label] += 1
        found.splits[one.source_split] += 1
        if one.subject is not None:
            found.subjects[one.subject] += 1
        if one.more_labels or one.more_subjects:
            found.has_several = True
            found.labels.update(one.more_labels)
            found.subjects.update(one.more_subjects)
    return found


def _counted(counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    shown = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())[:SHOWN])
    more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
    return f" ({shown}{more})"
