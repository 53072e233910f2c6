"""The data of a published experiment: how many classes to forget and to retain, and how many images of each.

Classes and images are chosen by the sha256 of their names: the choice is the same everywhere, independent of the order
of files, and not a prefix of a sorted list.
"""

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, PositiveInt

from i2i_unlearn.data.importers.source import Candidate
from i2i_unlearn.support.errors import UserError


class Protocol(BaseModel):
    """Key `protocol` of a preset."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    forget_classes: PositiveInt
    retain_classes: PositiveInt
    images_per_class: PositiveInt
    """Maximum number of training images of each class."""
    heldout_per_class: PositiveInt
    """Maximum number of validation images of each class; they are scored, and never trained on."""


@dataclass
class Chosen:
    """What a protocol takes from a source."""

    forget: list[str]
    """Labels, sorted."""
    retain: list[str]
    ids: frozenset[str]
    """Sample ids of the images of both."""
    short: list[str] = field(default_factory=list)
    """Labels with fewer images than the protocol wants."""


def choose(candidates: Callable[[], Iterable[Candidate]], protocol: Protocol, source: str) -> Chosen:
    """Classes and images of a source that can be read twice; no image is opened.

    Raises:
        UserError: the source has too few classes, or does not mark its training and validation images.
    """
    labels = sorted({candidate.label for candidate in candidates()}, key=_order)
    wanted = protocol.forget_classes + protocol.retain_classes
    if len(labels) < wanted:
        raise UserError(
            f"{source}: has {len(labels)} classes, but the protocol needs {protocol.forget_classes} to forget and "
            f"{protocol.retain_classes} to retain; give the whole set, or lower the numbers in the preset's protocol"
        )
    taken = frozenset(labels[:wanted])
    most = {"train": protocol.images_per_class, "val": protocol.heldout_per_class}
    ids, counts = _images(candidates(), taken, most, source)
    short = [label for label in sorted(taken) if any(counts[label, split] < number for split, number in most.items())]
    forget, retain = sorted(labels[: protocol.forget_classes]), sorted(labels[protocol.forget_classes : wanted])
    return Chosen(forget, retain, ids, short)


def _images(
    candidates: Iterable[Candidate], labels: frozenset[str], most: Mapping[str, int], source: str
) -> tuple[frozenset[str], Mapping[tuple[str, str], int]]:
    """Ids of the first images of each class and split in the order of digests, and how many there are of each."""
    first: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for candidate in candidates:
        if candidate.source_split not in most:
            raise UserError(
                f"{source}: does not mark its training and validation images; expected {source}/train and {source}/val"
            )
        if candidate.label in labels:
            kept = first[candidate.label, candidate.source_split]
            entry = (-int(_order(candidate.sample_id), 16), candidate.sample_id)  # the heap drops the largest digest
            heapq.heappush(kept, entry)
            if len(kept) > most[candidate.source_split]:
                heapq.heappop(kept)
    counts: dict[tuple[str, str], int] = defaultdict(int, {key: len(kept) for key, kept in first.items()})
    return frozenset(name for kept in first.values() for _, name in kept), counts


def _order(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
