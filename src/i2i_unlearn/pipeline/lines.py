"""Lines of bytes that arrive in pieces."""

from collections.abc import Iterable, Iterator


def whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Each line with its newline as soon as it is whole; what remains at the end without one.

    Pieces may end within a line or within a letter, so decode the lines and not the pieces.
    """
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest
