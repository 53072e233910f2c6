"""Lines that arrive in pieces."""

import pytest

from i2i_unlearn.pipeline.lines import whole_lines


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_are_whole_however_they_arrive(size):
    text = "eins\nzw\u00f6lf\n\nthe end".encode()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(whole_lines([])) == []
    assert [line.decode() for line in whole_lines([b"", *pieces, b""])] == ["eins\n", "zw\u00f6lf\n", "\n", "the end"]


def test_a_line_is_there_before_the_next_piece_is():
    def pieces():
        yield b"first\nsec"
        raise ConnectionAbortedError

    lines = whole_lines(pieces())
    assert next(lines) == b"first\n"
    with pytest.raises(ConnectionAbortedError):
        next(lines)
