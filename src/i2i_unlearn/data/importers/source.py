"""What a reader of a foreign layout yields to the importer, and the names that such layouts use for their splits."""

from collections.abc import Callable
from dataclasses import dataclass

from i2i_unlearn.data.images.layout import SourceSplit

# What is not trained on by convention is held out.
SPLIT_WORDS: dict[str, SourceSplit] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "val",
    "testing": "val",
    "unknown": "unknown",
}
UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class Candidate:
    """An image that may turn out to be broken."""

    where: str
    """File, or table and row: for messages to the person who imports."""
    sample_id: str
    label: str
    source_split: SourceSplit
    read: Callable[[], bytes]
    """Raises OSError or ValueError if there are no bytes."""
    subject: str | None = None
