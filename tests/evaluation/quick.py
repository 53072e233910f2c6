"""Evaluations without what costs most: the embedded extractor, the map of embeddings and the sheet of pictures."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from i2i_unlearn import report
from i2i_unlearn.evaluation import embedding_map
from i2i_unlearn.models import extractors
from tests.evaluation.conftest import Thumbnails

QUICK = {"extractor": "thumbnails", "num_bootstrap": 50}
"""Settings of `evaluate` for within `quick`."""


@contextmanager
def quick() -> Iterator[None]:
    """Nothing else of an evaluation changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(extractors.EXTRACTORS, "thumbnails", lambda device: Thumbnails())
        patch.setattr(embedding_map, "_FEWEST_POINTS", 10**9)
        patch.setattr(report, "before_after_picture", lambda facts: b"")
        yield
