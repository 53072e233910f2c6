"""What an error must say: each of its key words (file, key, value found, remedy), not the sentence around them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def says(kind: type[BaseException], *words: str) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """Expect an error of this kind and of one line that says all of `words`, in this order."""
    with pytest.raises(kind) as told:
        yield told
    rest = str(told.value)
    assert "\n" not in rest
    for word in words:
        assert word in rest, f"{told.value!s} does not say {word!r} (after the words before it)"
        rest = rest.partition(word)[2]
